"""Runs agri_tune the way a user does: a process, its exit code, stdout and stderr."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("GRAFT_SHARED", REPOSITORY.parent / "shared"))
AGRI_TUNE = Path(os.environ.get("GRAFT_BIN", REPOSITORY / "build" / "release" / "bin")) / "agri_tune"
os.environ.setdefault("GRAFT_CACHE", str(AGRI_TUNE.parents[1] / "cache"))  # tests leave nothing in the user's folders


@dataclass
class Outcome:
    code: int
    stdout: str
    stderr: str

    def complaint(self) -> str:
        """The lines that tell of an error: everything on stderr but progress."""
        return "\n".join(line for line in self.stderr.replace("\r", "\n").splitlines() if line.strip())


def settings(values: dict) -> list[str]:
    """{"a.b": 1} -> ["--set", "a.b=1"], in YAML's spelling."""
    arguments = []
    for key, value in values.items():
        text = json.dumps(value) if isinstance(value, (bool, list, dict)) else str(value)
        arguments += ["--set", f"{key}={text}"]
    return arguments


def agri_tune(*arguments, timeout: float = 180, environment: dict | None = None) -> Outcome:
    done = subprocess.run([str(AGRI_TUNE), *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, errors="replace", env={**os.environ, **(environment or {})})
    return Outcome(done.returncode, done.stdout, done.stderr)


def succeed(*arguments, **options) -> Outcome:
    outcome = agri_tune(*arguments, **options)
    assert outcome.code == 0, f"exit code {outcome.code} of agri_tune {' '.join(map(str, arguments))}\n{outcome.stderr[-3000:]}"
    return outcome


def logits(model, id_lists: list[list[int]], folder: Path, *extra) -> list:
    """fp32 logits of `inspect --logits` as numpy arrays (T, V), one for each id list."""
    from safetensors.numpy import load_file

    question, answer = folder / "ids.json", folder / "logits.safetensors"
    question.write_text(json.dumps(id_lists))
    succeed("inspect", "--model", model, "--logits", question, "--out", answer, *extra)
    tensors = load_file(answer)
    assert sorted(tensors) == sorted(f"logits.{i}" for i in range(len(id_lists)))
    return [tensors[f"logits.{i}"] for i in range(len(id_lists))]


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def training_steps(run: Path) -> list[dict]:
    """The lines of metrics.jsonl that describe an optimizer step (evaluations may have lines of their own)."""
    return [line for line in metrics(run) if "loss" in line and "learning_rate" in line]
