"""Adapters combined, mixed and converted by agri_tune against what Hugging Face PEFT makes of the same adapters."""

import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraModel
from safetensors.torch import load_file

import adapters
import program
import test_merge_export
import tiny_models
import training

TOLERANCE = 1e-4  # fp32 logits, as in test_adapters.py
IDS = tiny_models.random_ids([1, 7, 40], seed=9)
SEED = 11
ALL = "all-linear"
FACTOR_KINDS = ["linear", "ties", "dare_linear", "dare_ties", "magnitude_prune"]
SVD_KINDS = ["svd", "ties_svd", "dare_linear_svd", "dare_ties_svd", "magnitude_prune_svd"]

# name: configurations of two adapters. DARE draws random numbers layer by layer, and files know no order of layers but their names', so its
# adapters have one kind of target.
PAIRS = {
    "equal": (LoraConfig(r=8, lora_alpha=16, target_modules=ALL), LoraConfig(r=8, lora_alpha=4, target_modules=ALL)),
    "q-only": (LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj"]), LoraConfig(r=8, lora_alpha=4, target_modules=["q_proj"])),
    "unequal": (LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"]),
                LoraConfig(r=6, lora_alpha=6, target_modules=["q_proj", "down_proj"])),
    "q-unequal": (LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"]), LoraConfig(r=6, lora_alpha=6, target_modules=["q_proj"])),
}


@pytest.fixture(scope="module")
def base(folder):
    return tiny_models.save(tiny_models.build("llama3"), folder / "operations-base", tiny_models.byte_tokenizer())


@pytest.fixture(scope="module")
def pair(base, folder):
    """Folders of two adapters with random values, made once."""
    made = {}

    def of(name: str):
        if name not in made:
            made[name] = [folder / f"{name}-{i}" for i in (0, 1)]
            for i, config in enumerate(PAIRS[name]):
                adapters.make(base, config, made[name][i], seed=20 + i)
        return made[name]

    return of


def both_in_peft(base, folders):
    model = PeftModel.from_pretrained(tiny_models.load(base), folders[0], adapter_name="a")
    model.load_adapter(folders[1], adapter_name="b")
    return model.eval()


def combined_by_peft(base, folders, kind, weights, monkeypatch, **options):
    """PEFT initialises the new adapter before it combines, which draws random numbers; the seed is set after that."""
    model = both_in_peft(base, folders)
    inject = LoraModel.inject_adapter

    def inject_then_seed(self, *args, **kwargs):
        inject(self, *args, **kwargs)
        torch.manual_seed(SEED)

    monkeypatch.setattr(LoraModel, "inject_adapter", inject_then_seed)
    model.add_weighted_adapter(["a", "b"], weights, "c", combination_type=kind, **options)
    model.set_adapter("c")
    return model


def assert_close(ours, theirs, tolerance=TOLERANCE):
    for mine, other in zip(ours, theirs, strict=True):
        worst = np.abs(mine - other).max()
        assert worst <= tolerance, f"worst difference {worst:.2e}"


def worst(some, others):
    return max(np.abs(a - b).max() for a, b in zip(some, others, strict=True))


def named(folders):
    return ["--adapters", f"a={folders[0]}", f"b={folders[1]}"]


CASES = ([(kind, "equal", {}) for kind in ["linear", "ties", "magnitude_prune", "cat", "svd", "ties_svd", "magnitude_prune_svd"]]
         + [(kind, "q-only", {}) for kind in FACTOR_KINDS + SVD_KINDS]
         + [(kind, "unequal", {}) for kind in ["cat", "svd", "ties_svd", "magnitude_prune_svd"]]
         + [(kind, "q-unequal", {}) for kind in ["dare_linear_svd", "dare_ties_svd"]]
         + [("svd", "unequal", {"svd_rank": 9}), ("svd", "equal", {"svd_rank": 3}), ("ties", "equal", {"majority_sign_method": "frequency"}),
            ("ties_svd", "unequal", {"majority_sign_method": "frequency"}), ("dare_ties", "q-only", {"majority_sign_method": "frequency"})])


@pytest.mark.parametrize("kind,name,options", CASES)
def test_combination_is_pefts(kind, name, options, base, pair, tmp_path, monkeypatch):
    weights = [0.7, -0.4]
    folders = pair(name)
    arguments = []
    if kind.startswith(("ties", "dare", "magnitude")):
        options = {**options, "density": 0.4}
        arguments += ["--density", 0.4]
    if "majority_sign_method" in options:
        arguments += ["--majority-sign", options["majority_sign_method"]]
    if "svd_rank" in options:
        arguments += ["--rank", options["svd_rank"]]
    expected = tiny_models.logits_of(combined_by_peft(base, folders, kind, weights, monkeypatch, **options), IDS)
    program.succeed("combine", *named(folders), "--weights", *weights, "--combination", kind, "--seed", SEED, "--out", tmp_path / "c", *arguments)
    assert worst(expected, tiny_models.logits_of(tiny_models.load(base), IDS)) > 0.02, "the combination changes nothing; the comparison is void"
    assert_close(program.logits(base, IDS, tmp_path, "--adapter", tmp_path / "c"), expected)
    assert_close(tiny_models.logits_of(adapters.load(base, tmp_path / "c"), IDS), expected)  # PEFT loads it as any LoRA


def test_dare_follows_its_seed_over_all_layers(base, pair, tmp_path):
    files = []
    for name, seed in [("x", 1), ("y", 1), ("z", 2)]:
        program.succeed("combine", *named(pair("equal")), "--combination", "dare_linear", "--density", 0.5, "--seed", seed, "--out", tmp_path / name)
        files.append(load_file(tmp_path / name / "adapter_model.safetensors"))
    x, y, z = files
    assert all(torch.equal(x[k], y[k]) for k in x) and any(not torch.equal(x[k], z[k]) for k in x)
    # With both adapters pruned at random a place is 0 with probability 1/4; n values deviate by sqrt(3/16/n), 5 of these are allowed.
    zeros = torch.cat([v.flatten() for v in x.values()]).eq(0).double()
    assert abs(zeros.mean() - 0.25) < 5 * (3 / 16 / zeros.numel()) ** 0.5


@pytest.mark.parametrize("second", [LoraConfig(r=6, lora_alpha=6, target_modules=["q_proj", "down_proj"]),
                                    LoraConfig(r=4, use_dora=True, target_modules=["q_proj", "up_proj"])], ids=["lora", "dora"])
def test_mixture_sums_as_peft_does_and_its_parts_are_adapters(second, base, pair, tmp_path):
    folders = [pair("unequal")[0], tmp_path / "b"]
    adapters.make(base, second, folders[1], seed=5)
    model = both_in_peft(base, folders)
    # PEFT hands each DoRA the sum so far instead of the base's output, so its result depends on the order; a DoRA that comes first sees the base.
    model.base_model.set_adapter(["b", "a"])
    expected = tiny_models.logits_of(model, IDS)
    program.succeed("combine", *named(folders), "--combination", "mixture", "--out", tmp_path / "m")
    assert_close(program.logits(base, IDS, tmp_path, "--adapter", tmp_path / "m"), expected)
    assert_close(program.logits(base, IDS, tmp_path, *named(folders)), expected)
    for name, folder in zip("ab", folders):
        alone = tiny_models.logits_of(adapters.load(base, folder), IDS)
        assert_close(tiny_models.logits_of(adapters.load(base, tmp_path / "m" / name), IDS), alone)
        weights = ["--weights", *("10" if name == "a" else "01")]
        assert_close(program.logits(base, IDS, tmp_path, *named(folders), *weights), alone)
    merged = program.succeed("merge", "--model", base, "--adapter", tmp_path / "m", "--type", "f32", "--out", tmp_path / "merged")
    assert json.loads(merged.stdout)["method"] == "mixture"
    assert_close(tiny_models.logits_of(tiny_models.load(tmp_path / "merged"), IDS), expected)


def test_rows_choose_their_adapters(base, pair, tmp_path):
    folders = pair("unequal")
    rows = [json.loads(line) for line in open(training.write_rows(tmp_path / "plain.jsonl", training.rows(6)))]
    wishes = ["a", "b", None, ["a", "b"], {"a": 0.25, "b": -1}, "a"]

    def losses(name, rows, *arguments):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        program.succeed("eval", "--model", base, "--data", tmp_path / f"{name}.jsonl", "--task", "perplexity", "--out", tmp_path / name,
                        "--set", "data.template=chatml", "--set", "base.compute=fp32", *arguments)
        return [json.loads(line)["loss"] for line in open(tmp_path / name / "predictions.jsonl")]

    together = losses("together", [{**row, "adapter": wish} for row, wish in zip(rows, wishes)], *named(folders))
    alone = {"": losses("none", rows), "a": losses("a", rows, "--adapter", folders[0]), "b": losses("b", rows, "--adapter", folders[1]),
             "both": losses("both", rows, *named(folders)), "scaled": losses("scaled", rows, *named(folders), "--weights", "0.25", "-1")}
    for i, key in enumerate(["a", "b", "", "both", "scaled", "a"]):
        assert together[i] == pytest.approx(alone[key][i], abs=1e-5), key
    assert len({round(losses[3], 4) for losses in alone.values()}) == 5, "the adapters do not differ; the comparison is void"
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text(json.dumps({**rows[0], "adapter": "c"}) + "\n")
    outcome = program.agri_tune("predict", "--model", base, "--data", wrong, "--set", "data.template=chatml", *named(folders))
    assert outcome.code == 2 and "wrong.jsonl:1" in outcome.stderr and "no adapter 'c'" in outcome.stderr


def test_answers_of_a_batch_are_those_of_single_adapters(base, pair, tmp_path):
    """Greedy answers of eval are made in batches whose rows have different adapters."""
    folders = pair("unequal")
    rows = [json.loads(line) for line in open(training.write_rows(tmp_path / "plain.jsonl", training.rows(8)))]

    def answers(name, rows, *arguments):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        program.succeed("eval", "--model", base, "--data", tmp_path / f"{name}.jsonl", "--task", "answer", "--out", tmp_path / name,
                        "--max-new-tokens", 12, "--set", "data.template=chatml", "--set", "base.compute=fp32", *arguments)
        return [json.loads(line)["answer"] for line in open(tmp_path / name / "predictions.jsonl")]

    together = answers("together", [{**row, "adapter": "ab"[i % 2]} for i, row in enumerate(rows)], *named(folders))
    a, b = answers("a", rows, "--adapter", folders[0]), answers("b", rows, "--adapter", folders[1])
    assert together == [(a, b)[i % 2][i] for i in range(len(rows))]
    assert a != b, "the adapters do not differ; the comparison is void"


def test_conversion_to_lora(base, tmp_path):
    expected = tiny_models.logits_of(adapters.make(base, LoraConfig(r=4, use_dora=True, target_modules=["q_proj", "up_proj"]), tmp_path / "d"), IDS)
    errors, distances = [], []
    for rank in (2, 8, 32, 64):
        outcome = program.succeed("convert", "--model", base, "--adapter", tmp_path / "d", "--rank", rank, "--out", tmp_path / f"l{rank}")
        report = json.loads(outcome.stdout)
        assert len(report["layers"]) == 6 and report["method"] == "dora"
        errors.append(report["relative_error"])
        distances.append(worst(tiny_models.logits_of(adapters.load(base, tmp_path / f"l{rank}"), IDS), expected))
    assert errors == sorted(errors, reverse=True) and errors[0] > 0.1 and errors[-1] < 1e-3
    assert distances[-1] <= TOLERANCE < distances[0]
    config = json.loads((tmp_path / "l8" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and not config["use_dora"] and config["r"] == 8 == config["lora_alpha"]


def test_wrong_use_gets_one_line(base, pair, tmp_path):
    folders, out = pair("unequal"), ["--out", tmp_path / "never"]
    adapters.make(base, LoraConfig(r=4, use_dora=True, target_modules=["q_proj"]), tmp_path / "dora")
    adapters.make(base, LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["input_layernorm"]), tmp_path / "saved")
    for arguments, words in [
        ((*named(folders), "--combination", "ties"), ["--density"]),
        ((*named(folders), "--combination", "linear"), ["different ranks", "svd"]),
        ((*named(folders), "--combination", "cat", "--density", 0.5), ["--density", "nothing to cat"]),
        ((*named(folders), "--combination", "ties", "--density", 2), ["density", "out of range"]),
        ((*named(folders), "--combination", "cat", "--weights", 1), ["--weights", "expected 2"]),
        ((*named(folders), "--combination", "cat", "--weights", 1, "x"), ["--weights", "\"x\""]),
        ((*named(folders), "--combination", "tie", "--density", 0.5), ["--combination", "ties"]),
        ((*named(folders), "--combination", "cat", "--rank", 3), ["--rank"]),
        (("--adapters", folders[0], folders[0], "--combination", "cat"), ["two are called"]),
        (("--adapters", folders[0], tmp_path / "dora", "--combination", "cat"), ["dora", "convert"]),
        (("--adapters", folders[0], tmp_path / "saved", "--combination", "cat"), ["input_layernorm"]),
        (("--adapters", folders[0], tmp_path / "lost", "--combination", "cat"), ["lost", "adapter_config.json"]),
    ]:
        outcome = program.agri_tune("combine", *arguments, *out)
        errors = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
        assert outcome.code in (2, 3) and len(errors) == 1, outcome.stderr
        assert all(word in errors[0] for word in words), errors[0]
    assert not (tmp_path / "never").exists()
    beside = program.agri_tune("inspect", "--model", base, "--adapters", folders[0], f"s={tmp_path / 'saved'}")
    assert beside.code == 2 and "linear layers only" in beside.stderr
    many = program.agri_tune("inspect", "--model", base, *named(folders), "--adapter", folders[0])
    assert many.code == 2 and "--adapters" in many.stderr


def kept_fraction(base_model, peft_model, stored_model) -> float:
    """<stored - base, update> / <update, update> over all matrices that the adapter changes."""
    merged, product, squares = dict(peft_model.merge_and_unload().named_parameters()), 0.0, 0.0
    for (name, before), after in zip(base_model.named_parameters(), stored_model.parameters(), strict=True):
        update = (merged[name] - before).detach().double()
        if not name.startswith("model.layers") or "norm" in name:
            continue
        product += float(((after - before).detach().double() * update).sum())
        squares += float((update * update).sum())
    return product / squares


@pytest.mark.parametrize("stored", ["q8_0", "bf16"])
def test_merging_into_a_quantised_base_keeps_the_update(stored, base, tmp_path):
    """The base lies on the type's grid and the update is a fraction of a step, which plain rounding mostly loses."""
    config = LoraConfig(r=8, lora_alpha=0.25 if stored == "q8_0" else 0.125, target_modules=ALL)
    program.succeed("export", "--model", base, "--format", "gguf", "--type", stored, "--out", tmp_path / "base.gguf")
    held = test_merge_export.weights_of(tmp_path / "base.gguf", tiny_models.load(base))
    on_grid = tiny_models.save(held, tmp_path / "on-grid", tiny_models.byte_tokenizer())
    adapters.make(on_grid, config, tmp_path / "a")
    kept = {}
    for rounding in ("nearest", "update"):
        file = tmp_path / f"{rounding}.gguf"
        outcome = program.succeed("export", "--model", tmp_path / "base.gguf", "--adapter", tmp_path / "a", "--format", "gguf", "--type", stored,
                                  "--rounding", rounding, "--out", file)
        seen = kept_fraction(tiny_models.load(on_grid), adapters.load(on_grid, tmp_path / "a"),
                             test_merge_export.weights_of(file, tiny_models.load(base)))
        kept[rounding] = json.loads(outcome.stdout)["kept_update"]
        assert kept[rounding] == pytest.approx(seen, abs=0.01)
    assert kept["nearest"] < 0.8, "plain rounding loses nothing here; the comparison is void"
    assert abs(kept["update"] - 1) < 0.1
