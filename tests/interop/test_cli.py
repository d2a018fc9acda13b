"""Wrong use gets one clear line and its exit code; a killed run resumes bit for bit; stdout carries results only."""

import hashlib
import json
import os
import random
import signal
import subprocess
import time

import pytest
import torch
from safetensors.torch import load_file

import program
import tiny_models
import training


@pytest.fixture(scope="module")
def base(folder):
    return tiny_models.save(tiny_models.build("llama3"), folder / "base", tiny_models.byte_tokenizer())


@pytest.fixture(scope="module")
def data(folder):
    return training.write_rows(folder / "rows.jsonl", training.rows(64))


def train(base, data, out, changes=None, *extra, **options):
    return program.agri_tune("train", "--model", base, "--data", data, "--out", out, *extra,
                             *program.settings({**training.PLAIN, "train.max_steps": 3, **(changes or {})}), **options)


def assert_complains(outcome, code: int, *facts: str) -> None:
    """The code, every fact, no crash, nothing on stdout, and one line that holds all facts at once."""
    assert outcome.code == code, f"code {outcome.code}\n{outcome.stderr[-2000:]}"
    assert outcome.stdout.strip() == ""
    lines = outcome.complaint().splitlines()
    assert any(all(fact.lower() in line.lower() for fact in facts) for line in lines), f"{facts} in no line of\n{outcome.stderr[-2000:]}"
    for sign in ("terminate called", "what():", "Traceback", "Exception raised from", "frame #"):
        assert sign not in outcome.stderr


# ---- wrong use ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong,near", [("train.learning_rat", "train.learning_rate"), ("method.rnk", "method.rank"),
                                        ("base.dtyp", "base.dtype"), ("data.templete", "data.template")])
def test_unknown_setting_names_the_nearest(wrong, near, base, data, tmp_path):
    assert_complains(train(base, data, tmp_path / "run", {wrong: 1}), 2, wrong.split(".")[1], near.split(".")[1])


def test_unknown_key_in_the_file_names_the_nearest(base, data, tmp_path):
    (tmp_path / "run.yaml").write_text("train:\n  batch_sise: 2\n")
    assert_complains(train(base, data, tmp_path / "run", {}, "--config", tmp_path / "run.yaml"), 2, "batch_sise", "batch_size")


@pytest.mark.parametrize("changes,fact", [({"train.learning_rate": "fast"}, "learning_rate"), ({"train.batch_size": 0}, "batch_size"),
                                          ({"base.dtype": "fp8"}, "bf16"), ({"base.quantize": "int3"}, "nf4"),
                                          ({"train.schedule": "zigzag"}, "cosine"), ({"method.rank": 0}, "rank"),
                                          ({"method.dropout": 1.5}, "dropout"), ({"train.max_steps": -4}, "max_steps"),
                                          ({"data.template": "nonsense"}, "chatml"), ({"data.format": "nonsense"}, "alpaca")])
def test_value_out_of_range(changes, fact, base, data, tmp_path):
    assert_complains(train(base, data, tmp_path / "run", changes), 2, fact)


def test_unknown_method_lists_the_known(base, data, tmp_path):
    outcome = program.agri_tune("train", "--model", base, "--data", data, "--method", "lorra", "--out", tmp_path / "run")
    assert_complains(outcome, 2, "lorra", "lora", "bitfit")


def test_target_that_matches_nothing(base, data, tmp_path):
    assert_complains(train(base, data, tmp_path / "run", {"method.targets": ["query_proj"]}), 2, "query_proj", "q_proj")


def test_rank_above_the_size_of_the_layer(base, data, tmp_path):
    assert_complains(train(base, data, tmp_path / "run", {"method.rank": 65}), 2, "65", "64")


def test_rank_pattern_that_matches_nothing(base, data, tmp_path):
    assert_complains(train(base, data, tmp_path / "run", {"method.rank_pattern": {"query_proj": 2}}), 2, "query_proj")


def test_adapter_of_another_base(base, data, tmp_path):
    """Same shapes, other weights: only the hash can tell."""
    other = tiny_models.save(tiny_models.build("llama3", seed=99), tmp_path / "other", tiny_models.byte_tokenizer())
    assert train(base, data, tmp_path / "run").code == 0
    (tmp_path / "ids.json").write_text("[[1, 2]]")
    outcome = program.agri_tune("inspect", "--model", other, "--adapter", tmp_path / "run", "--logits", tmp_path / "ids.json", "--out",
                                tmp_path / "o.safetensors")
    assert_complains(outcome, 2, "base", "hash")
    assert_complains(train(other, data, tmp_path / "run2", {}, "--init-adapter", tmp_path / "run"), 2, "base", "hash")
    assert_complains(program.agri_tune("merge", "--model", other, "--adapter", tmp_path / "run", "--out", tmp_path / "merged"), 2, "hash")


def test_loss_that_is_not_a_number(base, data, tmp_path):
    outcome = train(base, data, tmp_path / "run", {"train.learning_rate": 1e30, "train.max_steps": 20, "train.save_every": 1})
    assert_complains(outcome, 4, "step", "learning rate", "checkpoint")
    assert "1e+30" in outcome.stderr
    tensors = load_file(tmp_path / "run" / "adapter_model.safetensors") if (tmp_path / "run" / "adapter_model.safetensors").exists() else {}
    assert all(torch.isfinite(t).all() for t in tensors.values()), "an adapter of NaNs was left behind"


def test_tokenizer_beyond_the_vocabulary(data, tmp_path):
    small = tiny_models.build("llama3", vocab_size=290)
    folder = tiny_models.save(small, tmp_path / "m", tiny_models.byte_tokenizer())
    assert_complains(train(folder, data, tmp_path / "run"), 2, "303", "290")


def test_model_type_that_is_not_supported(base, data, tmp_path):
    folder = tiny_models.save(tiny_models.build("smollm2"), tmp_path / "m", tiny_models.byte_tokenizer())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "falcon"}))
    assert_complains(train(folder, data, tmp_path / "run"), 2, "falcon", "llama", "mistral", "qwen2", "qwen3")


def test_files_that_are_missing(base, data, tmp_path):
    assert_complains(train(tmp_path / "nowhere", data, tmp_path / "run"), 3, "nowhere")
    assert_complains(train(base, tmp_path / "absent.jsonl", tmp_path / "run"), 3, "absent.jsonl")
    assert_complains(train(base, data, tmp_path / "run", {}, "--config", tmp_path / "gone.yaml"), 3, "gone.yaml")
    assert_complains(train(base, data, tmp_path / "run", {}, "--init-adapter", tmp_path / "lost"), 3, "lost")


def test_usage_errors(base):
    for arguments in ([], ["trian"], ["train"], ["train", "--model", base], ["inspect", "--model", base, "--nonsense"]):
        outcome = program.agri_tune(*arguments)
        assert outcome.code == 2, arguments
        assert outcome.stdout.strip() == "" and outcome.stderr.strip()


def test_help_is_a_result():
    for arguments in (["--help"], ["train", "--help"], ["eval", "--help"]):
        outcome = program.succeed(*arguments)
        assert "--model" in outcome.stdout or "train" in outcome.stdout


def test_few_bad_rows_are_reported_and_many_stop_the_run(base, tmp_path):
    good = [json.dumps({"text": text}) for text in training.rows(200)]
    few = good[:]
    few[57] = '{"text": '
    (tmp_path / "few.jsonl").write_text("\n".join(few) + "\n")
    outcome = train(base, tmp_path / "few.jsonl", tmp_path / "few")
    assert outcome.code == 0 and "few.jsonl:58" in outcome.stderr
    many = [line if i % 2 else '{"prose": 1}' for i, line in enumerate(good)]
    (tmp_path / "many.jsonl").write_text("\n".join(many) + "\n")
    outcome = train(base, tmp_path / "many.jsonl", tmp_path / "many")
    assert outcome.code == 3
    assert all(fact in outcome.stderr for fact in ("many.jsonl", "100 of 200", "line 1 "))
    assert not (tmp_path / "many" / "adapter_model.safetensors").exists()


def test_empty_data(base, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    outcome = train(base, tmp_path / "empty.jsonl", tmp_path / "run")
    assert outcome.code in (2, 3) and "empty.jsonl" in outcome.stderr


def test_a_run_that_cannot_fit_is_refused_with_a_way_out(base, tmp_path):
    """Some ten million tokens in one micro step, each with 10 KiB of activations and 34 KiB of head."""
    long = training.write_rows(tmp_path / "long.jsonl", [text * 3000 for text in training.rows(300)])
    outcome = train(base, long, tmp_path / "run", {"train.batch_size": 300, "train.max_length": 262144, "train.packing": True}, timeout=120)
    assert outcome.code in (2, 3), outcome.stderr[-2000:]
    assert any(setting in outcome.stderr for setting in ("train.batch_size", "train.max_length", "train.checkpointing"))


# ---- results and plans ------------------------------------------------------------------------------------------------------------


def test_stdout_holds_results_only(base, data, tmp_path):
    assert train(base, data, tmp_path / "run").code == 0
    commands = [["inspect", "--model", base], ["inspect", "--model", base, "--adapter", tmp_path / "run"], ["inspect", "--methods"],
                ["predict", "--model", base, "--data", data, "--max-new-tokens", 2, "--temperature", 0, *program.settings(
                    {"data.format": "text", "data.template": "plain"})],
                ["eval", "--model", base, "--data", data, "--task", "perplexity", "--out", tmp_path / "eval", *program.settings(
                    {"data.format": "text", "data.template": "plain"})]]
    for command in commands:
        outcome = program.succeed(*command)
        assert outcome.stdout.strip(), command
        try:
            json.loads(outcome.stdout)
        except json.JSONDecodeError:
            for line in outcome.stdout.splitlines():
                json.loads(line)


def test_dry_run_prints_the_plan_and_stops(base, data, tmp_path):
    outcome = program.succeed("train", "--model", base, "--data", data, "--out", tmp_path / "run", "--dry-run",
                              *program.settings(training.PLAIN))
    told = (outcome.stdout + outcome.stderr).lower()
    for part in ("trainable", "weights", "optimizer", "activations"):
        assert part in told
    # LoRA r 8 on q, k, v, o, gate, up, down of 64, 32, 160 in 3 layers.
    assert str(3 * 8 * ((64 + 64) + 2 * (64 + 32) + (64 + 64) + 3 * (64 + 160))) in told.replace(",", "").replace(" ", "")
    assert not (tmp_path / "run" / "adapter_model.safetensors").exists() and not (tmp_path / "run" / "metrics.jsonl").exists()


def test_run_directory(base, data, tmp_path):
    assert train(base, data, tmp_path / "run").code == 0
    run = tmp_path / "run"
    for name in ("config.yaml", "manifest.json", "metrics.jsonl", "adapter_config.json", "adapter_model.safetensors", "report.html"):
        assert (run / name).stat().st_size > 0, name
    manifest = (run / "manifest.json").read_text()
    assert json.loads(manifest) and "7" in manifest
    assert hashlib.sha256(data.read_bytes()).hexdigest() in manifest
    html = (run / "report.html").read_text()
    assert "<script src=" not in html and "http-equiv=\"refresh\"" not in html and "<link rel=\"stylesheet\"" not in html
    # The resolved configuration starts the same run again.
    again = program.agri_tune("train", "--model", base, "--data", data, "--config", run / "config.yaml", "--out", tmp_path / "again")
    assert again.code == 0, again.stderr[-2000:]
    assert losses(tmp_path / "again") == losses(run)


# ---- determinism, resuming --------------------------------------------------------------------------------------------------------

# Everything random is on: order of rows, dropout, initial adapter.
LIVELY = {"method.dropout": 0.1, "train.shuffle": True, "train.max_steps": 40, "train.accumulation": 2, "train.batch_size": 2,
          "train.schedule": "cosine", "train.warmup_ratio": 0.1, "train.clip_norm": 1.0, "train.weight_decay": 0.01, "train.save_every": 3}


def losses(run) -> list:
    return [(line["step"], line["loss"], line["learning_rate"]) for line in program.training_steps(run)]


def adapter_bytes(run) -> dict:
    """Without the header, which names the run."""
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(run / "adapter_model.safetensors").items()}


@pytest.fixture(scope="module")
def undisturbed(base, data, folder):
    assert train(base, data, folder / "undisturbed", LIVELY).code == 0
    return folder / "undisturbed"


def test_same_seed_same_numbers(base, data, undisturbed, tmp_path):
    assert train(base, data, tmp_path / "again", LIVELY).code == 0
    assert losses(tmp_path / "again") == losses(undisturbed)
    assert adapter_bytes(tmp_path / "again") == adapter_bytes(undisturbed)
    assert train(base, data, tmp_path / "other", {**LIVELY, "train.seed": 8}).code == 0
    assert losses(tmp_path / "other") != losses(undisturbed)


def start(base, data, run, *extra):
    arguments = ["train", "--model", base, "--data", data, "--out", run, *extra,
                 *program.settings({**training.PLAIN, **LIVELY})]
    return subprocess.Popen([str(program.AGRI_TUNE), *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            stdin=subprocess.DEVNULL)


def lines_of(run) -> int:
    try:
        return (run / "metrics.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("seed", range(4))
def test_killed_and_resumed_equals_undisturbed(seed, base, data, undisturbed, tmp_path):
    """kill -9 at several random moments of one run: between steps, inside them, while files are written."""
    draw, run, kills = random.Random(seed), tmp_path / "run", 0
    for attempt in range(4):
        process = start(base, data, run, *(["--resume"] if attempt else []))
        goal, deadline = lines_of(run) + draw.randint(1, 9), time.monotonic() + 60
        while process.poll() is None and lines_of(run) < goal and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(draw.random() * 0.03)
        if process.poll() is None:
            kills += 1
        process.send_signal(signal.SIGKILL)
        errors = process.communicate()[1].decode(errors="replace")
        assert process.returncode in (0, -signal.SIGKILL), errors[-2000:]
    assert kills >= 1, "the run ended before it could be killed; make it longer"
    process = start(base, data, run, "--resume")
    errors = process.communicate(timeout=120)[1].decode(errors="replace")
    assert process.returncode == 0, errors[-2000:]
    assert losses(run) == losses(undisturbed)
    assert adapter_bytes(run) == adapter_bytes(undisturbed)


def test_killed_before_the_first_checkpoint(base, data, undisturbed, tmp_path):
    process, run = start(base, data, tmp_path / "run"), tmp_path / "run"
    while lines_of(run) < 1 and process.poll() is None:
        time.sleep(0.0005)
    process.kill()
    process.communicate()
    process = start(base, data, run, "--resume")
    errors = process.communicate(timeout=120)[1].decode(errors="replace")
    assert process.returncode == 0, errors[-2000:]
    assert losses(run) == losses(undisturbed)


def test_resuming_with_other_settings_is_refused(base, data, undisturbed, tmp_path):
    process, run = start(base, data, tmp_path / "run"), tmp_path / "run"
    while lines_of(run) < 8 and process.poll() is None:
        time.sleep(0.0005)
    process.kill()
    process.communicate()
    before = {file: file.read_bytes() for file in run.iterdir() if file.is_file()}
    outcome = train(base, data, run, {**LIVELY, "train.learning_rate": 0.1}, "--resume")
    assert outcome.code == 2, outcome.stderr[-2000:]
    assert adapter_unchanged(before)


def adapter_unchanged(before: dict) -> bool:
    return all(file.read_bytes() == content for file, content in before.items() if file.suffix == ".safetensors")


# ---- a full disk ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True).returncode == 0
    if not mounted:
        pytest.skip("no right to mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_loses_nothing(base, data, undisturbed, small_disk):
    run, filler = small_disk / "run", small_disk / "filler"
    process = start(base, data, run)
    while lines_of(run) < 8 and process.poll() is None:
        time.sleep(0.0005)
    process.kill()
    process.communicate()
    held = {file: file.read_bytes() for file in run.rglob("*.safetensors")}
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    outcome = program.agri_tune("train", "--model", base, "--data", data, "--out", run, "--resume",
                                *program.settings({**training.PLAIN, **LIVELY}))
    assert outcome.code == 3, outcome.stderr[-2000:]
    assert "space" in outcome.stderr.lower()
    for file, content in held.items():
        assert file.read_bytes() == content, f"{file.name} was damaged"
    filler.unlink()
    outcome = program.agri_tune("train", "--model", base, "--data", data, "--out", run, "--resume",
                                *program.settings({**training.PLAIN, **LIVELY}))
    assert outcome.code == 0, outcome.stderr[-2000:]
    assert losses(run) == losses(undisturbed) and adapter_bytes(run) == adapter_bytes(undisturbed)
