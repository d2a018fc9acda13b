#!/usr/bin/env python3
"""Runs cloud_clip for each case and seed of settings.json on real clouds, and goes on where it stopped.

A small CLIP is trained first for every seed. Every case leaves a run folder (where something is learnt) and an evaluation on the test part;
make_table.py turns the folders into tables. A case that fails is reported and left out, the others go on.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import clouds

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]


def slug(case: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", case.lower()).strip("-")


def as_options(settings: dict) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


class Comparison:
    def __init__(self, arguments):
        self.program, self.out = arguments.program, arguments.out
        self.folders = clouds.prepare(arguments.program, arguments.shared, arguments.out / "data")
        self.failed = []

    def call(self, what: str, out: Path, *words) -> bool:
        """True if the program ended well; its settings, times and messages lie in `out`."""
        done = subprocess.run(list(map(str, (self.program, *words, "--out", out, "--quiet"))), capture_output=True, text=True)
        print(f"{what}: {'done' if done.returncode == 0 else 'FAILED: ' + (done.stderr.strip().splitlines() or ['no message'])[-1]}", flush=True)
        if done.returncode != 0:
            self.failed.append(what)
        return done.returncode == 0

    def model(self, seed: int, settings: dict) -> Path:
        folder = self.out / f"clip-{seed}"
        scores = folder / "evaluations.jsonl"
        if not scores.exists() or not scores.read_text():  # an interrupted run leaves a model too, but only a finished one was evaluated
            self.call(f"small CLIP, seed {seed}", folder, "pretrain", "--seed", seed, *as_options(settings),
                      *(["--resume"] if (folder / "checkpoint").exists() else []))
        return folder

    def learn(self, group: dict, case: dict, seed: int, model: Path, run: Path) -> bool:
        if (run / "adapter_model.safetensors").exists() or (run / "cloud_head.safetensors").exists():
            return True
        source = self.folders[group["source"]]
        split = ["--set", "data.split=train"] if (source / "train").is_dir() else []
        places = ["--data", source] if case["command"] == "train" else \
                 ["--source", source, "--target", self.folders[group["target"]], "--set", "target.split=train"]
        shots = ["--shots", case["shots"]] if "shots" in case else []
        return self.call(run.name, run, case["command"], "--model", model, *places, *split, *shots, "--seed", seed,
                         *as_options(group["set"] | case.get("set", {})), *(["--resume"] if (run / "checkpoint").exists() else []))

    def case(self, group_name: str, group: dict, name: str, case: dict, seed: int, model: Path) -> None:
        run = self.out / group_name / f"{slug(name)}-{seed}"
        scores = run.with_name(run.name + "-eval")
        if (scores / "summary.json").exists() or ("command" in case and not self.learn(group, case, seed, model, run)):
            return
        adapter = ["--adapter", run] if "command" in case else []
        self.call(scores.name, scores, "eval", "--model", model, *adapter, "--data", self.folders[group["test"]], "--set", "data.split=test",
                  *as_options(case.get("eval", {})))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds cad-urban, real-dales and bimnet10")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build" / "bench" / "cloud")
    parser.add_argument("--program", type=Path, default=REPOSITORY / "build" / "release" / "bin" / "cloud_clip")
    parser.add_argument("--settings", type=Path, default=HERE / "settings.json")
    parser.add_argument("--groups", nargs="*")
    parser.add_argument("--cases", nargs="*")
    parser.add_argument("--seeds", nargs="*", type=int)
    arguments = parser.parse_args()
    plan = json.loads(arguments.settings.read_text())
    comparison = Comparison(arguments)
    # Seed by seed, so that what is there when time runs out compares all cases.
    for seed in arguments.seeds or plan["seeds"]:
        model = comparison.model(seed, plan["pretrain"])
        for group in arguments.groups or plan["groups"]:
            for name, case in plan["groups"][group]["cases"].items():
                if not arguments.cases or name in arguments.cases:
                    comparison.case(group, plan["groups"][group], name, case, seed, model)
    return 1 if comparison.failed else 0


if __name__ == "__main__":
    sys.exit(main())
