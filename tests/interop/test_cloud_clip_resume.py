"""cloud_clip: a killed `train` or `adapt` resumes bit for bit."""

import json
import random
import signal
import subprocess
import time

import pytest
from safetensors.torch import load_file

import program

CLOUD_CLIP = program.AGRI_TUNE.parent / "cloud_clip"
LIVELY = {"train.max_steps": 24, "train.batch_size": 4, "train.save_every": 5, "method.dropout": 0.1, "run.rollback": "false"}


def cloud_clip(*arguments) -> subprocess.CompletedProcess:
    done = subprocess.run([str(CLOUD_CLIP), *map(str, arguments)], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def small(folder):
    cloud_clip("pretrain", "--out", folder / "small", "--quiet", *program.settings({"train.max_steps": 2, "train.batch_size": 8, "train.held_out": 1}))
    return folder / "small"


@pytest.fixture(scope="module")
def clouds(folder):
    for name, scanned, seed in (("source", "false", 1), ("target", "true", 2)):
        cloud_clip("shapes", "--classes", "car,tree,chair", "--out", folder / name, "--seed", seed,
                   *program.settings({"shapes.each": 4, "shapes.points": 400, "shapes.scanned": scanned}))
    return folder


def arguments_of(command, small, clouds, run) -> list:
    data = ["--data", clouds / "source"] if command == "train" else ["--source", clouds / "source", "--target", clouds / "target"]
    return [CLOUD_CLIP, command, "--model", small, *data, "--out", run, "--quiet", *program.settings(LIVELY)]


def start(command, small, clouds, run, *extra) -> subprocess.Popen:
    return subprocess.Popen([*map(str, arguments_of(command, small, clouds, run)), *extra], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)


def finish(process) -> None:
    errors = process.communicate(timeout=300)[1].decode(errors="replace")
    assert process.returncode == 0, errors[-2000:]


def lines_of(run) -> int:
    try:
        return (run / "metrics.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def kill_at(process, run, goal) -> bool:
    """True if it was still running."""
    deadline = time.monotonic() + 120
    while process.poll() is None and lines_of(run) < goal and time.monotonic() < deadline:
        time.sleep(0.001)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return alive


def losses(run) -> list:
    return [(line["step"], line["loss"], line["learning_rate"]) for line in program.training_steps(run)]


def learnt(run) -> dict:
    """Bytes of all tensors; the files' headers name the run."""
    return {(file.name, name): tensor.numpy().tobytes() for file in sorted(run.glob("*.safetensors")) for name, tensor in load_file(file).items()}


@pytest.fixture(scope="module", params=["train", "adapt"])
def undisturbed(request, small, clouds, folder):
    run = folder / f"undisturbed-{request.param}"
    finish(start(request.param, small, clouds, run))
    assert len(losses(run)) == LIVELY["train.max_steps"]
    return request.param, run


def test_killed_and_resumed_equals_undisturbed(undisturbed, small, clouds, tmp_path):
    command, expected = undisturbed
    draw, run, kills = random.Random(command), tmp_path / "run", 0
    for attempt in range(3):
        process = start(command, small, clouds, run, *(["--resume"] if attempt else []))
        kills += kill_at(process, run, lines_of(run) + draw.randint(1, 7))
    assert kills >= 1, "the run ended before it could be killed; make it longer"
    finish(start(command, small, clouds, run, "--resume"))
    assert losses(run) == losses(expected)
    assert learnt(run) == learnt(expected) and learnt(run)
    before, after = (json.loads((folder / "summary.json").read_text()) for folder in (expected, run))
    assert (before["before"], before["after"]) == (after["before"], after["after"])


def test_resuming_with_other_settings_is_refused(undisturbed, small, clouds, tmp_path):
    command, run = undisturbed[0], tmp_path / "run"
    assert kill_at(start(command, small, clouds, run), run, 8)
    done = subprocess.run([*map(str, arguments_of(command, small, clouds, run)), "--set", "train.learning_rate=0.1", "--resume"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "learning_rate" in done.stderr


def test_starting_again_in_a_runs_folder_names_resume(undisturbed, small, clouds):
    command, run = undisturbed
    done = subprocess.run([*map(str, arguments_of(command, small, clouds, run))], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--resume" in done.stderr
