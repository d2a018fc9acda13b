#!/usr/bin/env python3
"""Runs agri_tune train once for each method and seed, on one model and one data set, and goes on where it stopped.

Every run is a folder of its own with manifest and metrics; a run that ended is not made again. make_table.py turns the folders into a table
and a plot. A run that fails is reported and left out, the others go on.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]


def known_methods(program: Path) -> list[str]:
    lines = subprocess.run([program, "inspect", "--methods"], check=True, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line)["name"] for line in lines]


def settings_of(method: str, seed: int, plan: dict) -> dict:
    settings = {f"{section}.{key}": value for section in ("train", "run") for key, value in plan[section].items()}
    settings |= {key: value for key, value in plan["methods"].get(method, {}).items() if key != "skip"}
    return settings | {"train.seed": seed}


def command(arguments, method: str, seed: int, plan: dict, out: Path) -> list[str]:
    call = [arguments.program, "train", "--model", arguments.model, "--data", arguments.data, "--eval-data", arguments.eval_data, "--method", method,
            "--out", out]
    for key, value in (settings_of(method, seed, plan) | dict(pair.split("=", 1) for pair in arguments.set)).items():
        call += ["--set", f"{key}={json.dumps(value) if isinstance(value, bool) else value}"]
    return list(map(str, call))


def finished(out: Path) -> bool:
    return (out / "adapter_model.safetensors").exists() and (out / "evaluations.jsonl").exists()


def run(arguments, method: str, seed: int, plan: dict) -> bool:
    """True if the run's folder is complete now."""
    out = arguments.out / f"{method}-{seed}"
    if finished(out):
        return True
    resume = ["--resume"] if (out / "checkpoint").exists() else []
    done = subprocess.run(command(arguments, method, seed, plan, out) + resume, capture_output=True, text=True)
    print(f"{method} seed {seed}: {'done' if done.returncode == 0 else 'FAILED: ' + done.stderr.strip().splitlines()[-1]}", flush=True)
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--eval-data", required=True)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build" / "bench" / "methods")
    parser.add_argument("--program", type=Path, default=REPOSITORY / "build" / "release" / "bin" / "agri_tune")
    parser.add_argument("--methods", nargs="*", help="only these")
    parser.add_argument("--seeds", nargs="*", type=int)
    parser.add_argument("--at-once", type=int, default=1, help="runs beside each other, which share the processor's cores")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="for every run")
    arguments = parser.parse_args()
    plan = json.loads((HERE / "settings.json").read_text())
    plan["run"]["threads"] = max(1, len(os.sched_getaffinity(0)) // arguments.at_once)
    methods = [method for method in arguments.methods or known_methods(arguments.program) if "skip" not in plan["methods"].get(method, {})]
    # Seed by seed, so that what is there when time runs out compares all methods.
    jobs = [(method, seed) for seed in arguments.seeds or plan["seeds"] for method in methods]
    with ThreadPoolExecutor(arguments.at_once) as pool:
        complete = list(pool.map(lambda job: run(arguments, *job, plan), jobs))
    return 0 if all(complete) else 1


if __name__ == "__main__":
    sys.exit(main())
