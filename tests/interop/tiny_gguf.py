"""Writes a transformers model as a GGUF file the way llama.cpp's converter lays it out, with the `gguf` package.

Returns the same model with the weights as the file holds them (quantised and back), which is what a reader has to reproduce.
"""

import copy
import json
import math

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type

_LAYER = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
ARCHITECTURE = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
# Halves in these block types: (offset of d, its share of the weight's spread, offset of dmin, dmin/d); see random_blocks.
_K_BLOCKS = {Type.Q4_K: (0, 260.0, 2, 7.5), Type.Q5_K: (0, 520.0, 2, 15.5), Type.Q6_K: (208, 1370.0, None, 0.0)}


def gguf_name(name: str) -> str:
    for whole, short in (("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")):
        if name.startswith(whole + "."):
            return name.replace(whole, short)
    _, _, layer, rest = name.split(".", 3)
    module, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{_LAYER[module]}.{kind}"


def permute(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's llama graph rotates neighbouring pairs, Hugging Face rotates halves: rows of q and k change places inside a head."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def unpermute(weight: np.ndarray, heads: int) -> np.ndarray:
    return weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def random_blocks(kind: Type, rows: int, columns: int, deviation: float, generator: np.random.Generator) -> np.ndarray:
    """Random bytes of a K-quantised matrix whose values have about the given spread; `gguf` can read these types, not write them."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    raw = generator.integers(0, 256, (rows, columns // block, size), dtype=np.uint8)
    offset, spread, minimum_offset, ratio = _K_BLOCKS[kind]
    scale = deviation / spread * generator.uniform(0.7, 1.3, (rows, columns // block))
    raw[..., offset:offset + 2] = scale.astype(np.float16)[..., None].view(np.uint8)
    if minimum_offset is not None:
        raw[..., minimum_offset:minimum_offset + 2] = (scale * ratio).astype(np.float16)[..., None].view(np.uint8)
    return raw.reshape(rows, -1)


def _metadata(writer: gguf.GGUFWriter, config, tokenizer) -> None:
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_dimension_count(head_dim)
    if head_dim * config.num_attention_heads != config.hidden_size:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    writer.add_vocab_size(config.vocab_size)
    tokens = [tokenizer.convert_ids_to_tokens(i) for i in range(config.vocab_size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    special = set(tokenizer.all_special_ids)
    writer.add_token_types([gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in range(len(tokens))])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)


def _llama3_factors(config) -> np.ndarray:
    """What llama.cpp's converter stores as rope_freqs.weight: the divisor of each rotary frequency."""
    scaling = config.rope_scaling
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    low = scaling["original_max_position_embeddings"] / scaling["low_freq_factor"]
    high = scaling["original_max_position_embeddings"] / scaling["high_freq_factor"]
    factors = []
    for i in range(0, head_dim, 2):
        wavelength = 2 * math.pi * config.rope_theta ** (i / head_dim)
        if wavelength < high:
            factors.append(1.0)
        elif wavelength > low:
            factors.append(scaling["factor"])
        else:
            smooth = (scaling["original_max_position_embeddings"] / wavelength - scaling["low_freq_factor"]) / (
                scaling["high_freq_factor"] - scaling["low_freq_factor"])
            factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def write(path, model, tokenizer, kind_of, seed: int = 5):
    """kind_of(gguf name) -> GGMLQuantizationType for matrices; vectors stay F32. Returns the model that the file describes."""
    config, generator = model.config, np.random.default_rng(seed)
    stored = copy.deepcopy(model)
    writer = gguf.GGUFWriter(str(path), ARCHITECTURE[config.model_type])
    writer.add_type("model")
    writer.add_name("tiny")
    _metadata(writer, config, tokenizer)
    if getattr(config, "rope_scaling", None):
        writer.add_tensor("rope_freqs.weight", _llama3_factors(config))
    permuted = ARCHITECTURE[config.model_type] == "llama"
    for name, parameter in stored.named_parameters():
        weight, target = parameter.detach().numpy(), gguf_name(name)
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(target.split(".")[-2])
        if permuted and heads:
            weight = permute(weight, heads)
        kind = Type.F32 if weight.ndim == 1 else kind_of(target)
        if kind in _K_BLOCKS:
            raw = random_blocks(kind, *weight.shape, float(weight.std()), generator)
        else:
            raw = gguf.quants.quantize(np.ascontiguousarray(weight), kind)
        writer.add_tensor(target, raw, raw_dtype=kind)
        back = gguf.quants.dequantize(raw, kind).astype(np.float32).reshape(weight.shape)
        if permuted and heads:
            back = unpermute(back, heads)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(back)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored
