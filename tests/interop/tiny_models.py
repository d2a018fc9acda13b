"""Small random models of every architecture that agri_tune reads, saved as Hugging Face folders."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (AutoModelForCausalLM, LlamaConfig, MistralConfig, PreTrainedTokenizerFast, Qwen2Config,
                          Qwen3Config)

VOCABULARY = 304
CORPUS = ["the farmer sows wheat and rice in the wet season", "soil moisture and nitrogen decide the yield of the crop",
          "the irrigation of the field is stopped when the soil is wet", "leaf rust and blight are treated with care"]

_SHAPE = dict(vocab_size=VOCABULARY, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4,
              max_position_embeddings=256, bos_token_id=1, eos_token_id=0, pad_token_id=None)

# original_max_position_embeddings is small, so that the rotary frequencies of a head of 16 fall into all three ranges of the rule.
_LLAMA3_SCALING = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                       original_max_position_embeddings=64)

# Rows of whole NF4 blocks: on AVX-512, bitsandbytes 0.50.2 expands other rows wrongly (a row's last, shorter block shifts the scales).
_WHOLE_BLOCKS = {**_SHAPE, "intermediate_size": 192}

CONFIGS = {
    "llama2": lambda: LlamaConfig(**_SHAPE, num_key_value_heads=4, rms_norm_eps=1e-5, tie_word_embeddings=False),
    "llama3": lambda: LlamaConfig(**_SHAPE, num_key_value_heads=2, rms_norm_eps=1e-5, tie_word_embeddings=False,
                                  rope_theta=500000.0, rope_scaling=_LLAMA3_SCALING),
    "llama3-whole-blocks": lambda: LlamaConfig(**_WHOLE_BLOCKS, num_key_value_heads=2, rms_norm_eps=1e-5, tie_word_embeddings=False,
                                               rope_theta=500000.0, rope_scaling=_LLAMA3_SCALING),
    "mistral": lambda: MistralConfig(**_SHAPE, num_key_value_heads=2, rms_norm_eps=1e-5, tie_word_embeddings=False,
                                     head_dim=32, sliding_window=None, rope_theta=1e6),
    "mistral-window": lambda: MistralConfig(**_SHAPE, num_key_value_heads=2, tie_word_embeddings=False, sliding_window=4096),
    "smollm2": lambda: LlamaConfig(**_SHAPE, num_key_value_heads=1, rms_norm_eps=1e-5, tie_word_embeddings=True,
                                   rope_theta=100000.0),
    "qwen2": lambda: Qwen2Config(**_SHAPE, num_key_value_heads=2, rms_norm_eps=1e-6, tie_word_embeddings=True,
                                 rope_theta=1e6, use_sliding_window=False),
    "qwen2-untied": lambda: Qwen2Config(**_SHAPE, num_key_value_heads=2, tie_word_embeddings=False),
    "qwen3": lambda: Qwen3Config(**_SHAPE, num_key_value_heads=2, head_dim=32, rms_norm_eps=1e-6, tie_word_embeddings=True,
                                 rope_theta=1e6),
    "qwen3-untied": lambda: Qwen3Config(**_SHAPE, num_key_value_heads=4, head_dim=24, tie_word_embeddings=False),
}


def randomise(model, seed: int) -> None:
    """Weights that keep activations near 1 and logits near 3: flat logits would hide errors, huge ones fp32 noise."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name:
                parameter.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.3 * noise)
            elif "embed" in name or "lm_head" in name:
                parameter.copy_(noise * 3 / parameter.shape[1] ** 0.5)
            else:
                parameter.copy_(noise / parameter.shape[1] ** 0.5)


def build(kind: str, seed: int = 1, **changes):
    """A model in fp32, eager attention (transformers' plainest path), ready to be compared."""
    config = CONFIGS[kind]()
    for key, value in changes.items():
        setattr(config, key, value)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config)
    randomise(model, seed)
    return model.float().eval()


def load_nf4(folder: Path):
    """The model in bitsandbytes' NF4 with double quantisation, fp32 products, kept in its published packing: what it repacks for AVX-512
    needs a package of kernels that is fetched from a hub."""
    from transformers import BitsAndBytesConfig

    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager",
        quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                               bnb_4bit_compute_dtype=torch.float32))
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def byte_tokenizer(vocabulary: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """Byte-level BPE: every text can be spelled. <|endoftext|> is id 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(CORPUS * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|im_start|>",
                                   clean_up_tokenization_spaces=False)


def save(model, folder: Path, tokenizer=None, **options) -> Path:
    model.save_pretrained(folder, **options)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


def load(folder, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()


def random_ids(lengths, vocabulary: int = VOCABULARY, seed: int = 3) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, vocabulary, (length,), generator=generator).tolist() for length in lengths]


def logits_of(model, id_lists) -> list:
    """(T, V) numpy arrays in fp32, each list alone in its batch; without those of virtual tokens before it."""
    with torch.no_grad():
        return [model(torch.tensor([ids])).logits[0, -len(ids):].float().numpy() for ids in id_lists]
