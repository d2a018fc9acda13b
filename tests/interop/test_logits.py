"""`inspect --logits` gives transformers' logits for every architecture and file format that the program reads."""

import json

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import program
import tiny_gguf
import tiny_models

# The issue's bound. transformers' own fp32 logits differ from its fp64 ones by up to 1.5e-5 on these models (measured), so two sound
# fp32 implementations stay within a few times that.
TOLERANCE = 1e-4
# One token, two, odd, past the llama3 rule's original length of 64, and long.
IDS = tiny_models.random_ids([1, 2, 7, 33, 100, 200])
Type = gguf.GGMLQuantizationType


def assert_same_logits(ours, expected, tolerance=TOLERANCE):
    assert max(np.abs(e).max() for e in expected) > 4, "flat logits would hide errors"
    for mine, theirs in zip(ours, expected, strict=True):
        assert mine.dtype == np.float32 and mine.shape == theirs.shape
        worst = np.abs(mine - theirs).max()
        assert worst <= tolerance, f"length {len(theirs)}: worst difference {worst:.2e}"


@pytest.mark.parametrize("kind", tiny_models.CONFIGS)
def test_logits_of_each_architecture(kind, tmp_path):
    model = tiny_models.build(kind)
    tiny_models.save(model, tmp_path / "m")
    assert_same_logits(program.logits(tmp_path / "m", IDS, tmp_path), tiny_models.logits_of(model, IDS))


def test_lists_do_not_influence_each_other(tmp_path):
    tiny_models.save(tiny_models.build("llama3"), tmp_path / "m")
    together = program.logits(tmp_path / "m", IDS, tmp_path)
    alone = program.logits(tmp_path / "m", [IDS[3]], tmp_path)[0]
    # Products of other shapes may add in another order; a list that sees its neighbour is wrong by whole units.
    assert np.abs(together[3] - alone).max() < TOLERANCE


@pytest.mark.parametrize("kind", ["llama3", "qwen2"])
def test_sharded_files(kind, tmp_path):
    model = tiny_models.build(kind)
    tiny_models.save(model, tmp_path / "m", max_shard_size="100KB")
    assert len(list((tmp_path / "m").glob("model-*.safetensors"))) > 2
    assert_same_logits(program.logits(tmp_path / "m", IDS, tmp_path), tiny_models.logits_of(model, IDS))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_files_are_computed_in_fp32(dtype, tmp_path):
    model = tiny_models.build("smollm2")
    folder = tiny_models.save(model.to(dtype), tmp_path / "m")
    expected = tiny_models.logits_of(tiny_models.load(folder), IDS)
    assert_same_logits(program.logits(folder, IDS, tmp_path, "--set", "base.dtype=fp32"), expected)


def test_config_without_optional_keys(tmp_path):
    """Old folders lack rope_theta, head_dim, num_key_value_heads and more; transformers' defaults hold (theta 10000, all heads)."""
    model = tiny_models.build("llama2")
    folder = tiny_models.save(model, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    for key in ("rope_theta", "rope_scaling", "head_dim", "num_key_value_heads", "attention_bias", "mlp_bias", "dtype", "torch_dtype",
                "tie_word_embeddings"):
        config.pop(key, None)
    (folder / "config.json").write_text(json.dumps(config))
    assert_same_logits(program.logits(folder, IDS, tmp_path), tiny_models.logits_of(model, IDS))


def test_tied_model_whose_file_repeats_the_head(tmp_path):
    """Some folders store lm_head.weight next to a tied embedding; transformers ties all the same."""
    model = tiny_models.build("smollm2")
    folder = tiny_models.save(model, tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert_same_logits(program.logits(folder, IDS, tmp_path), tiny_models.logits_of(model, IDS))


@pytest.mark.parametrize("quantum", [Type.F32, Type.F16, Type.BF16, Type.Q8_0])
@pytest.mark.parametrize("kind", ["llama2", "smollm2", "mistral", "qwen2", "qwen3"])
def test_gguf_files(kind, quantum, tmp_path):
    model, tokenizer = tiny_models.build(kind), tiny_models.byte_tokenizer()
    described = tiny_gguf.write(tmp_path / "m.gguf", model, tokenizer, lambda name: quantum)
    assert_same_logits(program.logits(tmp_path / "m.gguf", IDS, tmp_path), tiny_models.logits_of(described, IDS))


def test_gguf_with_llama3_rope_factors(tmp_path):
    model, tokenizer = tiny_models.build("llama3"), tiny_models.byte_tokenizer()
    described = tiny_gguf.write(tmp_path / "m.gguf", model, tokenizer, lambda name: Type.F32)
    assert_same_logits(program.logits(tmp_path / "m.gguf", IDS, tmp_path), tiny_models.logits_of(described, IDS))


MIXES = {"legacy": [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0], "k": [Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.Q8_0, Type.F16]}


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("kind", ["llama3", "qwen2"])
def test_gguf_of_mixed_quantisation(kind, mix, tmp_path):
    """As in the wild: each matrix has its own type."""
    wide = dict(hidden_size=256, intermediate_size=512, head_dim=64) if kind == "llama3" else dict(hidden_size=256, intermediate_size=512)
    model, tokenizer = tiny_models.build(kind, **wide), tiny_models.byte_tokenizer()
    turn = iter(range(10**6))
    described = tiny_gguf.write(tmp_path / "m.gguf", model, tokenizer, lambda name: MIXES[mix][next(turn) % 5])
    assert_same_logits(program.logits(tmp_path / "m.gguf", IDS, tmp_path), tiny_models.logits_of(described, IDS))


def test_bf16_base_is_near_and_not_equal(tmp_path):
    """base.dtype bf16 really rounds: each weight by up to 2^-9 of itself, which moves these logits (spread 3) by some hundredths."""
    model = tiny_models.build("llama3")
    tiny_models.save(model, tmp_path / "m")
    ours = program.logits(tmp_path / "m", IDS, tmp_path, "--set", "base.dtype=bf16")
    worst = max(np.abs(a - b).max() for a, b in zip(ours, tiny_models.logits_of(model, IDS)))
    assert 1e-3 < worst < 0.5


@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "mamba"])
def test_unsupported_model_type_names_the_supported_ones(kind, tmp_path):
    folder = tiny_models.save(tiny_models.build("smollm2"), tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = kind
    (folder / "config.json").write_text(json.dumps(config))
    (tmp_path / "ids.json").write_text("[[1, 2]]")
    outcome = program.agri_tune("inspect", "--model", folder, "--logits", tmp_path / "ids.json", "--out", tmp_path / "o.safetensors")
    assert outcome.code == 2
    for name in (kind, "llama", "mistral", "qwen2", "qwen3"):
        assert name in outcome.stderr
    assert not (tmp_path / "o.safetensors").exists()


@pytest.mark.parametrize("ids", ["[[1, 304]]", "[[-1]]", "[[1.5]]", "[[]]", "{}", "[1, 2]", "not json"])
def test_bad_ids_are_refused(ids, tmp_path):
    folder = tiny_models.save(tiny_models.build("smollm2"), tmp_path / "m")
    (tmp_path / "ids.json").write_text(ids)
    outcome = program.agri_tune("inspect", "--model", folder, "--logits", tmp_path / "ids.json", "--out", tmp_path / "o.safetensors")
    assert outcome.code in (2, 3), outcome.stderr
    assert "ids.json" in outcome.stderr or "304" in outcome.stderr or "-1" in outcome.stderr or "logits" in outcome.stderr


def test_missing_weight_is_named(tmp_path):
    folder = tiny_models.save(tiny_models.build("smollm2"), tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    outcome = program.agri_tune("inspect", "--model", folder)
    assert outcome.code == 3 and "model.layers.1.mlp.up_proj" in outcome.stderr


def test_weight_of_another_shape_is_named(tmp_path):
    folder = tiny_models.save(tiny_models.build("smollm2"), tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(160, 60)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    outcome = program.agri_tune("inspect", "--model", folder)
    assert outcome.code in (2, 3) and "model.layers.0.mlp.up_proj" in outcome.stderr
