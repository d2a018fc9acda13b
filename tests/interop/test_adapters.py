"""Adapters cross between agri_tune and Hugging Face PEFT, both ways, and give the same logits."""

import json
import shutil

import numpy as np
import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

import adapters
import exchange_cases
import program
import tiny_models
import training

# The bound; PEFT's own fp32 noise on these models is some 2e-5.
TOLERANCE = 1e-4
IDS = tiny_models.random_ids([1, 7, 40], seed=9)
LINEARS = exchange_cases.LINEARS


@pytest.fixture(scope="module")
def bases(folder):
    """Model folders with their tokenizer, by architecture, made once."""
    made = {}

    def base(kind: str):
        if kind not in made:
            made[kind] = tiny_models.save(tiny_models.build(kind), folder / kind, tiny_models.byte_tokenizer())
        return made[kind]

    return base


def assert_close(ours, theirs, tolerance=TOLERANCE):
    for mine, other in zip(ours, theirs, strict=True):
        worst = np.abs(mine - other).max()
        assert worst <= tolerance, f"worst difference {worst:.2e}"


def assert_apart(some, others):
    assert max(np.abs(a - b).max() for a, b in zip(some, others)) > 0.05, "the adapter changes nothing; the comparison is void"


# ---- made by PEFT, loaded here --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", exchange_cases.MADE_BY_PEFT)
def test_adapter_made_by_peft(name, bases, tmp_path):
    kind, config = exchange_cases.MADE_BY_PEFT[name]
    base = bases(kind)
    expected = tiny_models.logits_of(adapters.make(base, config, tmp_path / "a"), IDS)
    assert_apart(expected, tiny_models.logits_of(tiny_models.load(base), IDS))
    assert_close(program.logits(base, IDS, tmp_path, "--adapter", tmp_path / "a"), expected)


def test_config_with_only_the_needed_keys(bases, tmp_path):
    """A loader needs only peft_type and target_modules; r 8, alpha 8 and the rest are PEFT's defaults."""
    base = bases("llama3")
    expected = tiny_models.logits_of(adapters.make(base, LoraConfig(target_modules=LINEARS), tmp_path / "a"), IDS)
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "target_modules": LINEARS}))
    assert_close(program.logits(base, IDS, tmp_path, "--adapter", tmp_path / "a"), expected)


def test_unknown_keys_are_warned_about_and_kept(bases, tmp_path):
    base = bases("llama3")
    adapters.make(base, LoraConfig(r=8, lora_alpha=16, target_modules=LINEARS), tmp_path / "a", initial=True)
    file = tmp_path / "a" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "shiny_key_of_next_year": {"depth": [1, 2]}}))
    data = training.write_rows(tmp_path / "rows.jsonl", training.rows(8))
    outcome = program.succeed("train", "--model", base, "--data", data, "--init-adapter", tmp_path / "a", "--out", tmp_path / "run",
                              *program.settings({**training.PLAIN, "train.max_steps": 2}))
    assert "shiny_key_of_next_year" in outcome.stderr
    written = json.loads((tmp_path / "run" / "adapter_config.json").read_text())
    assert written["shiny_key_of_next_year"] == {"depth": [1, 2]}
    adapters.load(base, tmp_path / "run")  # PEFT, too, ignores what it does not know


def test_adapter_whose_meaning_we_lack_is_refused(bases, tmp_path):
    """lora_bias changes the result; ignoring it would give silently wrong logits."""
    base = bases("qwen2")
    adapters.make(base, LoraConfig(r=4, target_modules=["q_proj"], lora_bias=True), tmp_path / "a")
    outcome = program.agri_tune("inspect", "--model", base, "--adapter", tmp_path / "a")
    assert outcome.code in (2, 3) and "lora_bias" in outcome.stderr


@pytest.mark.parametrize("damage", ["missing", "shape", "extra"])
def test_adapter_tensors_that_do_not_fit(damage, bases, tmp_path):
    base = bases("llama3")
    adapters.make(base, LoraConfig(r=4, target_modules=["q_proj"]), tmp_path / "a")
    file = tmp_path / "a" / "adapter_model.safetensors"
    tensors = load_file(file)
    name = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"
    if damage == "missing":
        del tensors[name]
    elif damage == "shape":
        tensors[name] = torch.zeros(63, 4)
    else:
        name = "base_model.model.model.layers.77.self_attn.q_proj.lora_B.weight"
        tensors[name] = torch.zeros(64, 4)
    save_file(tensors, file)
    (tmp_path / "ids.json").write_text("[[1]]")
    outcome = program.agri_tune("inspect", "--model", base, "--adapter", tmp_path / "a", "--logits", tmp_path / "ids.json", "--out",
                                tmp_path / "o.safetensors")
    assert outcome.code in (2, 3) and "q_proj" in outcome.stderr


# ---- trained here, loaded by PEFT -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", exchange_cases.TRAINED_HERE)
def test_adapter_trained_here(name, bases, tmp_path):
    kind, changes = exchange_cases.TRAINED_HERE[name]
    base = bases(kind)
    changes = {"train.max_steps": 6, "train.learning_rate": 0.02, **changes}
    method = changes.pop("method.name", "lora")
    if method == "lora":
        settings = {**training.PLAIN, **changes}
    else:  # the options of PLAIN are LoRA's
        settings = {**{k: v for k, v in training.PLAIN.items() if not k.startswith("method.")}, **changes}
    data = training.write_rows(tmp_path / "rows.jsonl", training.rows(12))
    program.succeed("train", "--model", base, "--data", data, "--method", method, "--out", tmp_path / "run", *program.settings(settings))
    theirs = tiny_models.logits_of(adapters.load(base, tmp_path / "run"), IDS)
    assert_apart(theirs, tiny_models.logits_of(tiny_models.load(base), IDS))
    assert_close(program.logits(base, IDS, tmp_path, "--adapter", tmp_path / "run"), theirs)
    # The folder itself and a copy of its two adapter files are both adapters.
    (tmp_path / "copy").mkdir()
    for part in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(tmp_path / "run" / part, tmp_path / "copy")
    assert_close(program.logits(base, IDS, tmp_path, "--adapter", tmp_path / "copy"), theirs)


def test_the_written_config_says_what_was_trained(bases, tmp_path):
    base = bases("llama3")
    data = training.write_rows(tmp_path / "rows.jsonl", training.rows(4))
    training.train_here(base, data, tmp_path / "run", {"train.max_steps": 1, "method.rank": 6, "method.alpha": 9, "method.dropout": 0.25,
                                                       "method.use_rslora": True, "method.rank_pattern": {"q_proj": 2}})
    config = json.loads((tmp_path / "run" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and config["r"] == 6 and config["lora_alpha"] == 9 and config["lora_dropout"] == 0.25
    assert config["use_rslora"] is True and config["rank_pattern"] == {"q_proj": 2}
    tensors = load_file(tmp_path / "run" / "adapter_model.safetensors")
    assert len(tensors) == 2 * 7 * 3
    assert tensors["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"].shape == (2, 64)
    assert tensors["base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight"].shape == (6, 64)
    assert all(t.dtype == torch.float32 for t in tensors.values())


def test_a_loaded_adapter_is_written_back_unchanged(bases, tmp_path):
    """Learning rate 0: what goes in comes out, bit for bit, through both readers and writers."""
    base = bases("llama3")
    adapters.make(base, LoraConfig(r=8, lora_alpha=16, target_modules=LINEARS), tmp_path / "a")
    data = training.write_rows(tmp_path / "rows.jsonl", training.rows(4))
    training.train_here(base, data, tmp_path / "run", {"train.max_steps": 1, "train.learning_rate": 0}, "--init-adapter", tmp_path / "a")
    before, after = (load_file(tmp_path / place / "adapter_model.safetensors") for place in ("a", "run"))
    assert sorted(before) == sorted(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


# ---- NF4 ------------------------------------------------------------------------------------------------------------------------


def test_nf4_base_gives_the_logits_of_bitsandbytes(bases, tmp_path):
    """Same packed codes and double-quantised scales, so the same fp32 weights on both sides: what is left is fp32 rounding, and
    TOLERANCE holds as for a dense base. (A wrong code anywhere would move logits by 1e-2 and more: NF4's steps are a tenth.)"""
    pytest.importorskip("bitsandbytes")
    from peft import PeftModel

    base = bases("llama3-whole-blocks")
    adapters.make(base, LoraConfig(r=8, lora_alpha=16, target_modules=LINEARS), tmp_path / "a")
    quantised = tiny_models.load_nf4(base).eval()
    nf4 = ["--set", "base.quantize=nf4", "--set", "base.dtype=fp32"]
    expected = tiny_models.logits_of(quantised, IDS)
    assert_apart(expected, tiny_models.logits_of(tiny_models.load(base), IDS))
    assert_close(program.logits(base, IDS, tmp_path, *nf4), expected)
    grafted = PeftModel.from_pretrained(quantised, tmp_path / "a").eval()
    assert_close(program.logits(base, IDS, tmp_path, "--adapter", tmp_path / "a", *nf4), tiny_models.logits_of(grafted, IDS))


def test_loftq_on_an_nf4_base_is_a_plain_lora_on_that_of_bitsandbytes(bases, tmp_path):
    pytest.importorskip("bitsandbytes")
    from peft import PeftModel

    base = bases("llama3-whole-blocks")
    data = training.write_rows(tmp_path / "rows.jsonl", training.rows(12))
    plain = {k: v for k, v in training.PLAIN.items() if not k.startswith("method.")}
    program.succeed("train", "--model", base, "--data", data, "--method", "loftq", "--out", tmp_path / "run",
                    *program.settings({**plain, "method.rank": 8, "train.max_steps": 4, "base.quantize": "nf4"}))
    quantised = tiny_models.load_nf4(base).eval()
    plain_logits = tiny_models.logits_of(quantised, IDS)
    theirs = tiny_models.logits_of(PeftModel.from_pretrained(quantised, tmp_path / "run").eval(), IDS)
    assert_apart(theirs, plain_logits)
    assert_close(program.logits(base, IDS, tmp_path, "--adapter", tmp_path / "run", "--set", "base.quantize=nf4", "--set", "base.dtype=fp32"), theirs)


def test_a_converted_adapter_of_pefts_is_a_plain_lora(bases, tmp_path):
    """save_pretrained(path_initial_model_for_weight_conversion=...): rank 2r, no start to compute."""
    from peft import get_peft_model

    base = bases("llama3")
    model = get_peft_model(tiny_models.load(base), LoraConfig(r=4, lora_alpha=8, init_lora_weights="pissa", target_modules=LINEARS))
    model.save_pretrained(tmp_path / "start")
    adapters.randomise(model, 5)
    model.save_pretrained(tmp_path / "a", path_initial_model_for_weight_conversion=str(tmp_path / "start"))
    assert_close(program.logits(base, IDS, tmp_path, "--adapter", tmp_path / "a"), tiny_models.logits_of(model.eval(), IDS))
