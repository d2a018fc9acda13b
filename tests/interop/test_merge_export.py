"""Merged folders load in transformers, exported GGUF files in the `gguf` package and in llama.cpp, with the adapter's own logits."""

import importlib.util
import json
import subprocess
import sys

import gguf
import numpy as np
import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

import adapters
import program
import tiny_gguf
import tiny_models

TOLERANCE = 1e-4  # fp32 against fp32, as everywhere
IDS = tiny_models.random_ids([1, 9, 60], seed=21)
LORA = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", rank_pattern={"q_proj": 4}, alpha_pattern={"k_proj": 5})
KINDS = ["llama3", "mistral", "smollm2", "qwen2", "qwen3"]
TYPES = {"f16": gguf.GGMLQuantizationType.F16, "bf16": gguf.GGMLQuantizationType.BF16, "q8_0": gguf.GGMLQuantizationType.Q8_0}


class Grafted:
    """A base folder, an adapter made by PEFT, the logits of both together."""

    def __init__(self, kind, folder):
        self.base = tiny_models.save(tiny_models.build(kind), folder / kind, tiny_models.byte_tokenizer())
        self.adapter = folder / f"{kind}-adapter"
        self.model = adapters.make(self.base, LORA, self.adapter)
        self.logits = tiny_models.logits_of(self.model, IDS)


@pytest.fixture(scope="module")
def grafted(folder):
    made = {}

    def case(kind: str) -> Grafted:
        if kind not in made:
            made[kind] = Grafted(kind, folder)
        return made[kind]

    return case


def worst(ours, theirs) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))


def reported(outcome) -> dict:
    """merge's own account on stdout: one JSON object."""
    return json.loads(outcome.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_merged_folder_loads_in_transformers(kind, grafted, tmp_path):
    case = grafted(kind)
    program.succeed("merge", "--model", case.base, "--adapter", case.adapter, "--out", tmp_path / "merged")
    model = tiny_models.load(tmp_path / "merged")
    assert worst(tiny_models.logits_of(model, IDS), case.logits) <= TOLERANCE
    assert worst(program.logits(tmp_path / "merged", IDS, tmp_path), case.logits) <= TOLERANCE
    # transformers' own merge is the second witness for the weights themselves.
    merged = adapters.load(case.base, case.adapter).merge_and_unload()
    for name, weight in merged.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight, atol=1e-5, rtol=1e-5)
    text = "soil moisture, wheat & rust"
    assert AutoTokenizer.from_pretrained(tmp_path / "merged")(text).input_ids == tiny_models.byte_tokenizer()(text).input_ids


def test_merge_reports_its_own_error(grafted, tmp_path):
    """A bf16 folder stores the merged weights rounded; the reported error has to be of the size that transformers sees."""
    case = grafted("llama3")
    rounded = tiny_models.save(tiny_models.load(case.base).to(torch.bfloat16), tmp_path / "bf16", tiny_models.byte_tokenizer())
    outcome = program.succeed("merge", "--model", rounded, "--adapter", case.adapter, "--out", tmp_path / "merged")
    report = reported(outcome)
    maximum = next(value for key, value in report.items() if "max" in key and "logit" in key)
    mean = next(value for key, value in report.items() if "mean" in key and "logit" in key)
    stored = json.loads((tmp_path / "merged" / "config.json").read_text())
    exact = tiny_models.logits_of(adapters.load(rounded, case.adapter), IDS)
    seen = worst(tiny_models.logits_of(tiny_models.load(tmp_path / "merged"), IDS), exact)
    assert 0 <= mean <= maximum
    if "bfloat16" in (stored.get("torch_dtype"), stored.get("dtype")):
        # Another probe set, so only the size can agree: within a factor of 5 either way.
        assert seen / 5 < maximum < seen * 5
    else:
        assert seen <= TOLERANCE and maximum <= TOLERANCE


def test_merge_of_saved_norms_and_biases(tmp_path):
    base = tiny_models.save(tiny_models.build("qwen2"), tmp_path / "base", tiny_models.byte_tokenizer())
    config = LoraConfig(r=4, target_modules=["up_proj", "q_proj"], bias="all", modules_to_save=["input_layernorm"])
    expected = tiny_models.logits_of(adapters.make(base, config, tmp_path / "a"), IDS)
    program.succeed("merge", "--model", base, "--adapter", tmp_path / "a", "--out", tmp_path / "merged")
    assert worst(tiny_models.logits_of(tiny_models.load(tmp_path / "merged"), IDS), expected) <= TOLERANCE


def weights_of(file, model):
    """The exported tensors, dequantised by the `gguf` package, put back into a transformers model."""
    permuted = tiny_gguf.ARCHITECTURE[model.config.model_type] == "llama"
    tensors = {t.name: t for t in gguf.GGUFReader(file).tensors}
    for name, parameter in model.named_parameters():
        target = tiny_gguf.gguf_name(name)
        weight = gguf.quants.dequantize(tensors[target].data, tensors[target].tensor_type).reshape(parameter.shape)
        heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}.get(target.split(".")[-2])
        if permuted and heads:
            weight = tiny_gguf.unpermute(weight, heads)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(weight, dtype=np.float32)))
    return model.eval()


def rounding_bound(weight: torch.Tensor, stored: str) -> torch.Tensor:
    """Half a step of the stored type: F16 and BF16 keep 11 and 8 significant bits, so 2^-11 and 2^-8 of a value; Q8_0 has steps of a block's largest value / 127,
    the step itself rounded to F16. 2e-6 is left for the fp32 merge itself, 6e-8 for F16's smallest numbers."""
    slack = 2e-6 + 6e-8
    if stored == "q8_0":
        largest = weight.reshape(-1, 32).abs().amax(-1, keepdim=True).expand(-1, 32).reshape(weight.shape)
        return largest / 127 * 0.5 + largest * 2.0**-11 + slack
    return weight.abs() * {"f32": 0.0, "f16": 2.0**-11, "bf16": 2.0**-8}[stored] + slack


@pytest.mark.parametrize("kind", ["llama3", "smollm2", "qwen2", "qwen3"])
@pytest.mark.parametrize("stored", TYPES)
def test_exported_gguf(kind, stored, grafted, tmp_path):
    case, file = grafted(kind), tmp_path / "m.gguf"
    program.succeed("export", "--model", case.base, "--adapter", case.adapter, "--format", "gguf", "--type", stored, "--out", file)
    reader = gguf.GGUFReader(file)
    architecture = reader.get_field("general.architecture").contents()
    assert architecture == tiny_gguf.ARCHITECTURE[case.model.config.model_type]
    for key in ("context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count",
                "attention.head_count_kv", "attention.layer_norm_rms_epsilon", "rope.freq_base"):
        assert reader.get_field(f"{architecture}.{key}") is not None, key
    assert {t.tensor_type for t in reader.tensors if t.name.endswith("ffn_up.weight")} == {TYPES[stored]}
    assert {t.tensor_type for t in reader.tensors if "norm" in t.name} == {gguf.GGMLQuantizationType.F32}
    held = weights_of(file, tiny_models.load(case.base))
    logits = tiny_models.logits_of(held, IDS)
    merged = adapters.load(case.base, case.adapter).merge_and_unload()
    for (name, stored_weight), weight in zip(held.named_parameters(), dict(merged.named_parameters()).values(), strict=True):
        excess = (stored_weight - weight).abs() - rounding_bound(weight.detach(), stored if weight.dim() > 1 else "f32")
        assert float(excess.max()) <= 0, f"{name} is off by {float(excess.max()):.2e} more than {stored} may round"
    assert worst(program.logits(file, IDS, tmp_path), logits) <= TOLERANCE


def test_exported_vocabulary(grafted, tmp_path):
    case, file, tokenizer = grafted("smollm2"), tmp_path / "m.gguf", tiny_models.byte_tokenizer()
    program.succeed("export", "--model", case.base, "--format", "gguf", "--type", "f16", "--out", file)
    reader = gguf.GGUFReader(file)
    value = lambda key: reader.get_field(key).contents()  # noqa: E731
    assert value("tokenizer.ggml.model") == "gpt2"
    assert value("tokenizer.ggml.tokens") == [tokenizer.convert_ids_to_tokens(i) for i in range(len(tokenizer))]
    assert value("tokenizer.ggml.merges") == [" ".join(m) for m in json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]]
    types = value("tokenizer.ggml.token_type")
    assert len(types) == len(tokenizer) and types[:3] == [gguf.TokenType.CONTROL] * 3 and types[3] == gguf.TokenType.NORMAL
    assert value("tokenizer.ggml.eos_token_id") == tokenizer.eos_token_id


def test_exported_chat_template(tmp_path):
    tokenizer = tiny_models.byte_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    base = tiny_models.save(tiny_models.build("smollm2"), tmp_path / "base", tokenizer)
    program.succeed("export", "--model", base, "--format", "gguf", "--type", "f16", "--out", tmp_path / "m.gguf")
    assert gguf.GGUFReader(tmp_path / "m.gguf").get_field("tokenizer.chat_template").contents() == tokenizer.chat_template


def test_exported_gguf_loads_in_transformers(grafted, tmp_path):
    """transformers' own GGUF reader is a second judge of metadata and of the order of q and k."""
    case, file = grafted("smollm2"), tmp_path / "m.gguf"
    program.succeed("export", "--model", case.base, "--adapter", case.adapter, "--format", "gguf", "--type", "f16", "--out", file)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32, attn_implementation="eager").eval()
    assert worst(tiny_models.logits_of(model, IDS), program.logits(file, IDS, tmp_path)) <= TOLERANCE


@pytest.mark.parametrize("kind", ["llama3", "qwen2"])
def test_gguf_lora_has_the_names_that_llama_cpp_expects(kind, grafted, tmp_path):
    case, file = grafted(kind), tmp_path / "a.gguf"
    program.succeed("export", "--model", case.base, "--adapter", case.adapter, "--format", "gguf-lora", "--type", "f16", "--out", file)
    reader = gguf.GGUFReader(file)
    value = lambda key: reader.get_field(key).contents()  # noqa: E731
    assert value("general.type") == "adapter" and value("adapter.type") == "lora"
    assert value("general.architecture") == tiny_gguf.ARCHITECTURE[case.model.config.model_type]
    assert value("adapter.lora.alpha") == 16
    shapes = {t.name: [int(n) for n in t.shape] for t in reader.tensors}  # innermost first, as in the file
    assert len(shapes) == 2 * 7 * 3
    assert shapes["blk.0.ffn_up.weight.lora_a"] == [64, 8] and shapes["blk.0.ffn_up.weight.lora_b"] == [8, 160]
    assert shapes["blk.2.attn_q.weight.lora_a"] == [64, 4] and shapes["blk.2.attn_q.weight.lora_b"] == [4, 64]


LLAMA_CPP = """
import json, sys
import llama_cpp
import numpy as np
task = json.load(sys.stdin)
plain = llama_cpp.llama_cpp.llama_model_default_params
def without_repacked_weights():
    params = plain()
    params.use_extra_bufts = False
    return params
llama_cpp.llama_cpp.llama_model_default_params = without_repacked_weights
model = llama_cpp.Llama(task["file"], logits_all=True, verbose=False, n_ctx=256, n_threads=2, **task["options"])
if "prompt" in task:
    json.dump(model(task["prompt"], max_tokens=8, temperature=0), sys.stdout)
else:
    model.eval(task["ids"])
    json.dump(np.array(model._scores)[:len(task["ids"])].tolist(), sys.stdout)
"""


def in_llama_cpp(file, options=None, **task):
    """In a process of its own, as llama.cpp and PyTorch each bring an OpenMP library. Without repacked weights: with them 0.3.36 crashes on
    AMX for any quantised file, those of its own quantiser included."""
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("llama-cpp-python is not installed")
    task |= {"file": str(file), "options": options or {}}
    done = subprocess.run([sys.executable, "-c", LLAMA_CPP], input=json.dumps(task), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def llama_cpp_logits(file, ids, **options):
    """llama.cpp rounds activations to 8 or 16 bit inside, so its logits are near, not equal."""
    return np.array(in_llama_cpp(file, options, ids=list(map(int, ids))))


# Measured with files of known-good writers: llama.cpp differs from fp32 by up to 0.02 on F16 files of these models; a
# wrong matrix differs by several units.
LLAMA_CPP_TOLERANCE = 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_llama_cpp_runs_the_exported_model(kind, grafted, tmp_path):
    case, file = grafted(kind), tmp_path / "m.gguf"
    program.succeed("export", "--model", case.base, "--adapter", case.adapter, "--format", "gguf", "--type", "f16", "--out", file)
    assert np.abs(llama_cpp_logits(file, IDS[2]) - case.logits[2]).max() < LLAMA_CPP_TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_llama_cpp_applies_the_exported_adapter(kind, tmp_path):
    """One rank and alpha for all layers here: GGUF adapters hold a single alpha (llama.cpp divides it by each tensor's own rank)."""
    base = tiny_models.save(tiny_models.build(kind), tmp_path / "base", tiny_models.byte_tokenizer())
    expected = tiny_models.logits_of(adapters.make(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"), tmp_path / "a"), IDS)
    program.succeed("export", "--model", base, "--format", "gguf", "--type", "f16", "--out", tmp_path / "m.gguf")
    program.succeed("export", "--model", base, "--adapter", tmp_path / "a", "--format", "gguf-lora", "--type", "f16", "--out", tmp_path / "a.gguf")
    logits = llama_cpp_logits(tmp_path / "m.gguf", IDS[2], lora_path=str(tmp_path / "a.gguf"))
    assert np.abs(logits - expected[2]).max() < LLAMA_CPP_TOLERANCE


def test_gguf_lora_keeps_patterns_and_rslora(tmp_path):
    """A single alpha cannot express rank and alpha patterns or sqrt scaling, so the exporter has to fold them into the tensors."""
    base = tiny_models.save(tiny_models.build("llama3"), tmp_path / "base", tiny_models.byte_tokenizer())
    config = LoraConfig(r=8, lora_alpha=16, use_rslora=True, target_modules="all-linear", rank_pattern={"q_proj": 4}, alpha_pattern={"k_proj": 5})
    expected = tiny_models.logits_of(adapters.make(base, config, tmp_path / "a", seed=4), IDS)
    program.succeed("export", "--model", base, "--format", "gguf", "--type", "f16", "--out", tmp_path / "m.gguf")
    program.succeed("export", "--model", base, "--adapter", tmp_path / "a", "--format", "gguf-lora", "--type", "f16", "--out", tmp_path / "a.gguf")
    logits = llama_cpp_logits(tmp_path / "m.gguf", IDS[2], lora_path=str(tmp_path / "a.gguf"))
    assert np.abs(logits - expected[2]).max() < LLAMA_CPP_TOLERANCE


def test_llama_cpp_generates_from_the_export(grafted, tmp_path):
    case, file = grafted("smollm2"), tmp_path / "m.gguf"
    program.succeed("export", "--model", case.base, "--adapter", case.adapter, "--format", "gguf", "--type", "q8_0", "--out", file)
    answer = in_llama_cpp(file, prompt="the farmer sows")
    assert answer["usage"]["prompt_tokens"] == len(tiny_models.byte_tokenizer()("the farmer sows").input_ids)
    assert answer["choices"][0]["text"]
