"""A GGUF base merged into a Hugging Face folder, tokenizers on the way between both forms, and what merge and export refuse."""

import json
import os
import resource
import signal
import subprocess

import gguf
import numpy as np
import pytest
import torch
from peft import LNTuningConfig, LoraConfig
from tokenizers import Regex, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

import adapters
import program
import tiny_gguf
import tiny_models

TOLERANCE = 1e-4  # fp32 against fp32, as everywhere
IDS = tiny_models.random_ids([1, 9, 60], seed=21)
STORIES = program.SHARED / "weights" / "stories260k" / "hf"
TEXTS = ["The farmer's field: 120 kg of N, pH 6.5", "  two  spaces\ttab", "गेहूं की बुवाई – नवंबर", "wheat<|endoftext|> rust", "one\n\ntwo"]


def worst(ours, theirs) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))


def token_ids(model, folder) -> list:
    """One list of ids a text, as `inspect --tokenize` gives them."""
    file = folder / "lines.txt"
    file.write_text("".join(text.replace("\n", " ") + "\n" for text in TEXTS), encoding="utf-8")
    return [json.loads(line) for line in program.succeed("inspect", "--model", model, "--tokenize", file).stdout.splitlines()]


@pytest.mark.parametrize("kind", ["llama3", "mistral", "qwen2", "qwen3-untied"])
def test_gguf_base_becomes_a_folder(kind, tmp_path):
    """F32 weights, so nothing is rounded: logits of base and adapter, ids and special tokens have to come out the same."""
    tokenizer = tiny_models.byte_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n'}}{% endfor %}"
    base = tiny_models.save(tiny_models.build(kind), tmp_path / "base", tokenizer)
    expected = tiny_models.logits_of(adapters.make(base, LoraConfig(r=8, target_modules="all-linear"), tmp_path / "a"), IDS)
    tiny_gguf.write(tmp_path / "m.gguf", tiny_models.load(base), tokenizer, lambda name: gguf.GGMLQuantizationType.F32)
    outcome = program.succeed("merge", "--model", tmp_path / "m.gguf", "--adapter", tmp_path / "a", "--out", tmp_path / "merged")
    report = json.loads(outcome.stdout)
    assert report["type"] == "f32" and report["max_weight_error"] == 0 and report["max_logit_difference"] <= TOLERANCE
    assert worst(tiny_models.logits_of(tiny_models.load(tmp_path / "merged"), IDS), expected) <= TOLERANCE
    theirs = AutoTokenizer.from_pretrained(tmp_path / "merged")
    for text in TEXTS:
        assert theirs(text).input_ids == tokenizer(text).input_ids
        assert theirs.decode(theirs(text).input_ids) == text
    assert (theirs.bos_token, theirs.eos_token) == (tokenizer.bos_token, tokenizer.eos_token)
    assert theirs.all_special_ids and set(theirs.all_special_ids) <= {0, 1, 2}
    generation = json.loads((tmp_path / "merged" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == tokenizer.eos_token_id


def test_exported_chat_template_comes_back(tmp_path):
    tokenizer = tiny_models.byte_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n'}}{% endfor %}"
    base = tiny_models.save(tiny_models.build("llama3"), tmp_path / "base", tokenizer)
    adapters.make(base, LoraConfig(r=2, target_modules=["q_proj"]), tmp_path / "a")
    program.succeed("export", "--model", base, "--format", "gguf", "--type", "f16", "--out", tmp_path / "m.gguf")
    program.succeed("merge", "--model", tmp_path / "m.gguf", "--adapter", tmp_path / "a", "--out", tmp_path / "merged")
    messages = [{"role": "user", "content": "When?"}]
    theirs = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert theirs.apply_chat_template(messages) == tokenizer.apply_chat_template(messages)
    scaling = json.loads((tmp_path / "merged" / "config.json").read_text())["rope_scaling"]
    assert (scaling["rope_type"], scaling["factor"], scaling["original_max_position_embeddings"]) == ("llama3", 8, 64)


def test_quantised_base_is_stored_as_f16(tmp_path):
    """Q4_1 plus update, rounded once: 2^-11 of each value, to which transformers' reading of the folder has to agree."""
    model = tiny_models.build("smollm2")
    base = tiny_models.save(model, tmp_path / "base", tiny_models.byte_tokenizer())
    stored = tiny_gguf.write(tmp_path / "m.gguf", model, tiny_models.byte_tokenizer(),
                             lambda name: gguf.GGMLQuantizationType.Q4_1 if "ffn" in name else gguf.GGMLQuantizationType.F16)
    dense = tiny_models.save(stored, tmp_path / "dense")
    adapters.make(dense, LoraConfig(r=8, target_modules="all-linear"), tmp_path / "a")
    exact = adapters.load(dense, tmp_path / "a").merge_and_unload().state_dict()
    report = json.loads(program.succeed("merge", "--model", tmp_path / "m.gguf", "--adapter", tmp_path / "a", "--out", tmp_path / "merged").stdout)
    assert report["type"] == "f16" and 0 < report["relative_weight_error"] < 2.0**-11
    merged = tiny_models.load(tmp_path / "merged").state_dict()
    for name, weight in exact.items():
        # 2e-6 for the sum of base and update in fp32, 6e-8 for fp16's smallest numbers.
        assert bool(((merged[name] - weight).abs() <= weight.abs() * 2.0**-11 + 2e-6 + 6e-8).all()), name


def test_update_of_a_tied_head_unties_it(tmp_path):
    base = tiny_models.save(tiny_models.build("smollm2"), tmp_path / "base", tiny_models.byte_tokenizer())
    config = LoraConfig(r=4, target_modules=["lm_head", "q_proj"])
    expected = tiny_models.logits_of(adapters.make(base, config, tmp_path / "a"), IDS)
    program.succeed("merge", "--model", base, "--adapter", tmp_path / "a", "--out", tmp_path / "merged")
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["tie_word_embeddings"] is False
    assert worst(tiny_models.logits_of(tiny_models.load(tmp_path / "merged"), IDS), expected) <= TOLERANCE
    program.succeed("export", "--model", base, "--adapter", tmp_path / "a", "--format", "gguf", "--type", "f16", "--out", tmp_path / "m.gguf")
    assert "output.weight" in {tensor.name for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    refused = program.agri_tune("export", "--model", base, "--adapter", tmp_path / "a", "--format", "gguf-lora", "--out", tmp_path / "a.gguf")
    assert refused.code == 2 and "lm_head" in refused.complaint() and not (tmp_path / "a.gguf").exists()


def test_norm_tuning_merges(tmp_path):
    base = tiny_models.save(tiny_models.build("qwen3"), tmp_path / "base", tiny_models.byte_tokenizer())
    config = LNTuningConfig(target_modules=["input_layernorm", "norm"], task_type="CAUSAL_LM")
    expected = tiny_models.logits_of(adapters.make(base, config, tmp_path / "a"), IDS)
    program.succeed("merge", "--model", base, "--adapter", tmp_path / "a", "--out", tmp_path / "merged")
    assert worst(tiny_models.logits_of(tiny_models.load(tmp_path / "merged"), IDS), expected) <= TOLERANCE
    refused = program.agri_tune("export", "--model", base, "--adapter", tmp_path / "a", "--format", "gguf-lora", "--out", tmp_path / "a.gguf")
    assert refused.code == 2 and "norm_tuning" in refused.complaint() and not (tmp_path / "a.gguf").exists()


def test_unknown_config_keys_and_type_are_kept(tmp_path):
    base = tiny_models.save(tiny_models.build("qwen2").to(torch.float16), tmp_path / "base", tiny_models.byte_tokenizer())
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"my_company": {"owner": "me"}}))
    (base / "LICENSE").write_text("terms")
    adapters.make(base, LoraConfig(r=4, target_modules=["down_proj"]), tmp_path / "a")
    program.succeed("merge", "--model", base, "--adapter", tmp_path / "a", "--out", tmp_path / "merged")
    merged = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert merged["my_company"] == {"owner": "me"} and "float16" in (merged.get("dtype"), merged.get("torch_dtype"))
    assert (tmp_path / "merged" / "LICENSE").read_text() == "terms"
    program.succeed("merge", "--model", base, "--adapter", tmp_path / "a", "--type", "f32", "--out", tmp_path / "wide")
    merged = json.loads((tmp_path / "wide" / "config.json").read_text())
    assert "float32" in (merged.get("dtype"), merged.get("torch_dtype")) and "float16" not in (merged.get("dtype"), merged.get("torch_dtype"))


@pytest.mark.skipif(not STORIES.exists(), reason="stories260k is not on this machine")
def test_sentencepiece_goes_to_gguf_and_back(tmp_path):
    """Ids of the folder, of the exported file and of the folder made from that file; transformers reads the last."""
    adapters.make(STORIES, LoraConfig(r=2, target_modules=["q_proj"]), tmp_path / "a")
    program.succeed("export", "--model", STORIES, "--format", "gguf", "--type", "f16", "--out", tmp_path / "m.gguf")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    assert reader.get_field("tokenizer.ggml.model").contents() == "llama"
    assert reader.get_field("tokenizer.ggml.token_type").contents()[3] == gguf.TokenType.BYTE
    program.succeed("merge", "--model", tmp_path / "m.gguf", "--adapter", tmp_path / "a", "--out", tmp_path / "merged")
    expected = token_ids(STORIES, tmp_path)
    assert token_ids(tmp_path / "m.gguf", tmp_path) == expected
    assert token_ids(tmp_path / "merged", tmp_path) == expected
    theirs = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert [theirs(text.replace("\n", " "), add_special_tokens=False).input_ids for text in TEXTS] == expected


QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def cut_like(name: str):
    """A byte-level tokenizer that cuts text the way the named models do."""
    tokenizer = tiny_models.byte_tokenizer()
    inner = tokenizer.backend_tokenizer
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if name == "smollm":
        inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    elif name == "qwen2":
        inner.normalizer = normalizers.NFC()
        inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), bytes_only])
    else:
        inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), bytes_only])
        inner.post_processor = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    return tokenizer


@pytest.mark.parametrize("name", ["smollm", "qwen2", "llama-bpe"])
def test_ways_to_cut_text_survive(name, tmp_path):
    tokenizer = cut_like(name)
    base = tiny_models.save(tiny_models.build("smollm2"), tmp_path / "base", tokenizer)
    adapters.make(base, LoraConfig(r=2, target_modules=["q_proj"]), tmp_path / "a")
    program.succeed("export", "--model", base, "--format", "gguf", "--type", "f16", "--out", tmp_path / "m.gguf")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    assert reader.get_field("tokenizer.ggml.pre").contents() == name
    assert reader.get_field("tokenizer.ggml.add_bos_token").contents() == (name == "llama-bpe")
    program.succeed("merge", "--model", tmp_path / "m.gguf", "--adapter", tmp_path / "a", "--out", tmp_path / "merged")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "merged")
    texts = [text.replace("\n", " ") for text in TEXTS]
    assert token_ids(tmp_path / "m.gguf", tmp_path) == [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    assert [theirs(text).input_ids for text in texts] == [tokenizer(text).input_ids for text in texts]


def test_a_way_to_cut_text_that_gguf_has_no_name_for(tmp_path):
    tokenizer = tiny_models.byte_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex("[aeiou]"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    base = tiny_models.save(tiny_models.build("smollm2"), tmp_path / "base", tokenizer)
    refused = program.agri_tune("export", "--model", base, "--format", "gguf", "--out", tmp_path / "m.gguf")
    assert refused.code == 2 and "qwen2" in refused.complaint() and not (tmp_path / "m.gguf").exists()


def full_disk():
    """No file may grow beyond 64 KiB; the write fails where a full disk would make it fail."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))


@pytest.mark.parametrize("arguments", [["merge", "--out", "merged"], ["export", "--format", "gguf", "--type", "f16", "--out", "m.gguf"]])
def test_a_full_disk_is_one_line_and_leaves_nothing(arguments, small, tmp_path):
    base, adapter = small
    done = subprocess.run([str(program.AGRI_TUNE), *arguments, "--model", base, "--adapter", adapter], cwd=tmp_path, capture_output=True,
                          text=True, preexec_fn=full_disk, restore_signals=False)
    assert done.returncode == 3 and "error: " in done.stderr and "cannot write" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def small(folder):
    base = tiny_models.save(tiny_models.build("llama3"), folder / "small", tiny_models.byte_tokenizer())
    adapters.make(base, LoraConfig(r=4, target_modules=["q_proj"]), folder / "small-adapter")
    return base, folder / "small-adapter"


def test_a_folder_that_holds_something_is_left_alone(small, tmp_path):
    base, adapter = small
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("x")
    refused = program.agri_tune("merge", "--model", base, "--adapter", adapter, "--out", tmp_path / "full")
    assert refused.code == 2 and len(refused.complaint().splitlines()) == 1 and "not empty" in refused.complaint()
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["precious"]
    (tmp_path / "empty").mkdir()
    program.succeed("merge", "--model", base, "--adapter", adapter, "--out", tmp_path / "empty")


@pytest.mark.parametrize("arguments, code, fact", [
    (["merge", "--type", "q8_0", "--out", "OUT"], 2, "q8_0"),
    (["merge", "--out", "OUT", "--adapter", "nowhere"], 3, "nowhere"),
    (["export", "--format", "gguf", "--out", "OUT"], 2, ".gguf"),
    (["export", "--format", "gguf-lora", "--out", "OUT.gguf", "NO ADAPTER"], 2, "--adapter"),
    (["export", "--format", "onnx", "--out", "OUT.gguf"], 2, "onnx"),
])
def test_wrong_use_is_one_line_and_leaves_nothing(arguments, code, fact, small, tmp_path):
    base, adapter = small
    words = [str(tmp_path / word.replace("OUT", "out")) if word.startswith("OUT") else word for word in arguments if word != "NO ADAPTER"]
    if "--adapter" not in words and "NO ADAPTER" not in arguments:
        words += ["--adapter", adapter]
    refused = program.agri_tune(words[0], "--model", base, *words[1:])
    assert refused.code == code and fact in refused.complaint() and len(refused.complaint().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_of_another_base_is_refused(small, tmp_path):
    base, _ = small
    (tmp_path / "data.jsonl").write_text(json.dumps({"instruction": "a", "output": "wheat"}) + "\n")
    program.succeed("train", "--model", base, "--data", tmp_path / "data.jsonl", "--out", tmp_path / "run", *program.settings(
        {"train.max_steps": 1, "train.batch_size": 1, "method.rank": 2, "data.template": "plain"}))
    other = tiny_models.save(tiny_models.build("llama3", seed=9), tmp_path / "other", tiny_models.byte_tokenizer())
    refused = program.agri_tune("merge", "--model", other, "--adapter", tmp_path / "run", "--out", tmp_path / "merged")
    assert refused.code == 2 and "another base" in refused.complaint() and not (tmp_path / "merged").exists()
    program.succeed("merge", "--model", base, "--adapter", tmp_path / "run", "--out", tmp_path / "merged")


def test_a_number_too_large_for_f16_is_named(small, tmp_path):
    _, adapter = small
    model = tiny_models.build("llama3")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 4] = 1e5
    base = tiny_models.save(model, tmp_path / "base", tiny_models.byte_tokenizer())
    for command in (["merge", "--type", "f16", "--out", tmp_path / "out"],
                    ["export", "--format", "gguf", "--type", "f16", "--out", tmp_path / "out.gguf"]):
        refused = program.agri_tune(command[0], "--model", base, "--adapter", adapter, *command[1:])
        assert refused.code == 2 and "layers.1.mlp.up_proj" in refused.complaint() and "bf16" in refused.complaint()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_merge_leaves_nothing_under_the_name(number, tmp_path):
    """Killed while it writes: a larger model, so that there is time."""
    base = tiny_models.save(tiny_models.build("llama3", hidden_size=512, intermediate_size=2048, num_hidden_layers=12), tmp_path / "base",
                            tiny_models.byte_tokenizer())
    adapters.make(base, LoraConfig(r=2, target_modules=["q_proj"]), tmp_path / "a")
    merging = subprocess.Popen([str(program.AGRI_TUNE), "merge", "--model", base, "--adapter", tmp_path / "a", "--out", tmp_path / "merged"],
                               stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for line in merging.stderr:
        if line.startswith("writing"):
            break
    os.kill(merging.pid, number)
    merging.communicate()
    assert merging.returncode != 0
    assert not (tmp_path / "merged").exists()
    if number == signal.SIGTERM:
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "base"]
    program.succeed("merge", "--model", base, "--adapter", tmp_path / "a", "--out", tmp_path / "merged")
