"""Runs each case in turns (PEFT, agri_tune, PEFT, agri_tune, ...), each run a fresh process, and writes what came out as JSON.

Both sides are measured from outside: a step ends when the driver sees its line, memory is the kernel's own high-water mark of the
process. The driver itself never imports torch, so it costs no memory or time while a run is on.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from . import cases

REPOSITORY = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.002


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Run:
    """One process: when its steps began and ended, their losses, its peak memory."""

    def __init__(self, command: list, environment: dict, log: Path):
        self.begin: dict[int, float] = {}
        self.end: dict[int, float] = {}
        self.losses: dict[int, float] = {}
        self.notes: dict = {}
        self.log = open(log, "wb")
        self.start = time.monotonic()
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log,
                                        env={**os.environ, **environment})

    def now(self) -> float:
        return time.monotonic() - self.start

    def finish(self) -> None:
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.seconds, self.peak_bytes = self.now(), usage.ru_maxrss * 1024
        self.log.close()

    def summary(self, tokens: list[int]) -> dict:
        """Speed: median over the steps after the first, each from the end of one step to the end of the next."""
        steps = sorted(self.end)
        speeds = [tokens[s - 1] / (self.end[s] - self.end[s - 1]) for s in steps if s - 1 in self.end]
        return {"tokens_per_second": statistics.median(speeds) if speeds else None, "step_speeds": speeds,
                "first_step_begins_s": self.begin.get(1), "first_step_done_s": self.end.get(1), "peak_bytes": self.peak_bytes,
                "losses": [self.losses[s] for s in steps], "seconds": self.seconds, **self.notes}


def run_peft(options: dict, folder: Path, data: Path, threads: int, log: Path) -> Run:
    command = [sys.executable, "-m", "peft_comparison.peft_worker", "--model", folder / "model", "--start", folder / "start", "--ids",
               data / "ids.json", "--options", json.dumps(options), "--learning-rate", cases.LEARNING_RATE, "--threads", threads]
    run = Run(command, {"PYTHONPATH": str(REPOSITORY / "bench"), "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1",
                        "TOKENIZERS_PARALLELISM": "false"}, log)
    for line in run.process.stdout:
        told = json.loads(line)
        if told["event"] == "begin":
            run.begin[told["step"]] = run.now()
        elif told["event"] == "step":
            run.end[told["step"]] = run.now()
            run.losses[told["step"]] = told["loss"]
        else:
            run.notes.update({k: v for k, v in told.items() if k != "event"})
    run.finish()
    return run


def run_ours(case, folder: Path, data: Path, threads: int, log: Path, steps: int, program: Path) -> Run:
    out = log.with_suffix(".run")
    shutil.rmtree(out, ignore_errors=True)
    settings = {**cases.SETTINGS, **case.ours, **case.settings, "train.max_steps": steps, "train.batch_size": case.batch_size,
                "run.threads": threads}
    command = [program, "train", "--model", folder / "model", "--data", data / "rows.jsonl", "--init-adapter", folder / "start", "--out", out]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    run = Run(command, {}, log)
    drain = threading.Thread(target=run.process.stdout.read, daemon=True)
    drain.start()
    watch_metrics(run, out / "metrics.jsonl")
    run.finish()
    manifest = out / "manifest.json"
    if manifest.exists():
        run.notes["manifest"] = json.loads(manifest.read_text())
    return run


def watch_metrics(run: Run, file: Path) -> None:
    """A step has ended when its line is in metrics.jsonl."""
    read, rest = 0, b""
    while True:
        alive = not has_ended(run.process.pid)
        if file.exists() and file.stat().st_size > read:
            with open(file, "rb") as handle:
                handle.seek(read)
                fresh = handle.read()
            read, moment = read + len(fresh), run.now()
            *lines, rest = (rest + fresh).split(b"\n")
            for line in map(json.loads, lines):
                if "loss" in line and "learning_rate" in line:
                    run.end[line["step"]], run.losses[line["step"]] = moment, line["loss"]
                    run.begin[line["step"]] = moment - line["seconds"] if "seconds" in line else None
        if not alive:
            return
        time.sleep(POLL_SECONDS)


def has_ended(pid: int) -> bool:
    """True once the process is a zombie: it is reaped later, with its resource usage."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def spread(values: list[float]) -> dict:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)} if values else {}


def reference_losses(case, folder: Path, data: Path, threads: int, log: Path) -> list[float]:
    """Losses of the same job in fp32 by PEFT, made once for these rows and weights."""
    options = case.reference()
    key = json.dumps({"options": options, "rows": sha256(data / "rows.jsonl"), "model": sha256(folder / "model" / "model.safetensors"),
                      "start": sha256(folder / "start" / "adapter_model.safetensors"), "learning_rate": cases.LEARNING_RATE}, sort_keys=True)
    kept = data / f"reference-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json"
    if not kept.exists():
        say(f"   reference: PEFT with {options}")
        run = run_peft(options, folder, data, threads, log)
        if run.process.returncode != 0:
            raise SystemExit(f"the reference run failed in {case.name}; its words are in {log}")
        kept.write_text(json.dumps([run.losses[step] for step in sorted(run.losses)]))
    return json.loads(kept.read_text())


def compare(case, reference: list[float], peft: list[dict], ours: list[dict]) -> dict:
    """Ratios of the runs that were neighbours in time, and how far each side's losses are from the reference's."""
    far = lambda runs: max((abs(a - b) for run in runs for a, b in zip(run["losses"], reference)), default=None)  # noqa: E731
    pairs = list(zip(peft, ours))
    difference = far(ours)
    ratio = lambda key: spread([o[key] / p[key] for p, o in pairs if o.get(key) and p.get(key)])  # noqa: E731
    return {"largest_loss_difference": difference, "peft_largest_loss_difference": far(peft), "loss_tolerance": case.loss_tolerance,
            "same_losses": difference is not None and difference <= case.loss_tolerance,
            "speed_ratio": ratio("tokens_per_second"), "memory_ratio": ratio("peak_bytes"),
            "first_step_done_ratio": ratio("first_step_done_s")}


def machine(threads: int) -> dict:
    info = Path("/proc/cpuinfo").read_text()
    flags = set(next((line.split(":")[1].split() for line in info.splitlines() if line.startswith("flags")), []))
    model = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "unknown")
    return {"cpu": model, "cores": os.cpu_count(), "threads": threads, "load_before": os.getloadavg(),
            "features": {f: f in flags for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")}}


def output(command: list, **options) -> str:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True, **options).stdout


def commit() -> str:
    try:
        dirty = output(["git", "status", "--porcelain", "--untracked-files=no"], cwd=REPOSITORY).strip()
        return output(["git", "rev-parse", "--short=12", "HEAD"], cwd=REPOSITORY).strip() + ("+changes" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def run_case(case, arguments) -> dict:
    python = [sys.executable, "-m"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "bench"), "HF_HUB_OFFLINE": "1"}
    say(f"== {case.name}: preparing")
    output([*python, "peft_comparison.prepare", "--repository", REPOSITORY, "--shared", arguments.shared, "--folder", arguments.cache, "--case",
            case.name, "--steps", arguments.steps, "--batch-size", case.batch_size], env=environment)
    folder = arguments.cache / case.model
    data = arguments.cache / f"{case.data}-{arguments.steps}x{case.batch_size}"
    batches = json.loads((data / "ids.json").read_text())
    tokens = [sum(map(len, batch)) for batch in batches]
    result = {"case": case.name, "note": case.note, "model": case.model, "data": case.data, "steps": len(batches), "tokens_a_step": tokens,
              "peft_options": case.peft, "settings": {**cases.SETTINGS, **case.ours}, "rows_sha256": sha256(data / "rows.jsonl"),
              "weights_sha256": sha256(folder / "model" / "model.safetensors"), "peft": [], "ours": []}
    result["reference_losses"] = reference_losses(case, folder, data, arguments.threads,
                                                  arguments.out.parent / f"{arguments.out.stem}-{case.name}-reference.log")
    for turn in range(arguments.repeats):
        for side in [s for s in ("peft", "ours") if s in arguments.sides]:
            log = arguments.out.parent / f"{arguments.out.stem}-{case.name}-{side}-{turn}.log"
            if side == "peft":
                run = run_peft(case.peft, folder, data, arguments.threads, log)
            else:
                run = run_ours(case, folder, data, arguments.threads, log, len(batches), arguments.program)
            if run.process.returncode != 0 or len(run.end) != len(batches):
                raise SystemExit(f"{side} failed in {case.name} (exit code {run.process.returncode}); its words are in {log}")
            result[side].append(run.summary(tokens))
            say(describe(side, turn, result[side][-1]))
    if not arguments.no_ceiling:
        result["ceiling"] = json.loads(output([*python, "peft_comparison.ceiling", "--model", folder / "model", "--tokens", max(tokens),
                                               "--threads", arguments.threads], env=environment))
    result["comparison"] = compare(case, result["reference_losses"], result["peft"], result["ours"])
    return result


def describe(side: str, turn: int, run: dict) -> str:
    speed = f"{run['tokens_per_second']:.0f} tokens/s" if run["tokens_per_second"] else "one step only"
    return (f"   {side} {turn + 1}: {speed}, peak {run['peak_bytes'] / 2**30:.2f} GiB, first step done after {run['first_step_done_s']:.1f} s, "
            f"losses {' '.join(f'{x:.4f}' for x in run['losses'])}")


def tell(result: dict) -> None:
    """The table of one case on stdout."""
    comparison = result["comparison"]
    print(f"\n{result['case']}: {result['model']}, {result['steps']} steps of {statistics.mean(result['tokens_a_step']):.0f} tokens")
    for side in ("peft", "ours"):
        for name, key, unit in (("tokens/s", "tokens_per_second", 1), ("peak GiB", "peak_bytes", 2**30), ("first step begins s", "first_step_begins_s", 1),
                                ("first step done s", "first_step_done_s", 1)):
            values = [run[key] / unit for run in result[side] if run.get(key) is not None]
            if values:
                s = spread(values)
                print(f"  {side:5} {name:20} {s['median']:10.2f}   ({s['min']:.2f} .. {s['max']:.2f})")
    for dtype, ceiling in result.get("ceiling", {}).items():
        print(f"  LibTorch's {dtype} products alone: {ceiling['gflops']:.0f} GFLOP/s, at most {ceiling['tokens_per_second']:.0f} tokens/s")
    if not (result["peft"] and result["ours"]):
        return
    print(f"  largest difference of a step's loss from PEFT in fp32: ours {comparison['largest_loss_difference']:.2e} (allowed "
          f"{comparison['loss_tolerance']:g}), peft {comparison['peft_largest_loss_difference']:.2e}")
    if not comparison["same_losses"]:
        print("  OUR SIDE DID NOT COMPUTE THE SAME THING: no ratio is quoted")
        return
    for name in ("speed_ratio", "memory_ratio", "first_step_done_ratio"):
        s = comparison[name]
        if s:
            print(f"  ours / peft {name:22} {s['median']:8.3f}   ({s['min']:.3f} .. {s['max']:.3f})")


def read_arguments(words: list[str]):
    parser = argparse.ArgumentParser(prog="compare_peft", description="The same fine-tuning job here and in transformers + PEFT, in turns.")
    parser.add_argument("--cases", default="peft-fp32-eager,peft-bf16-eager,bnb-nf4,questions-fp32",
                        help="comma-separated, or 'all'; known: " + ", ".join(cases.BY_NAME))
    parser.add_argument("--steps", type=int, default=6, help="optimizer steps a run; the first is warm-up")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side, in turns")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, help="rows a step, in place of the case's own (smaller jobs for slow machines)")
    parser.add_argument("--quick", action="store_true", help="2 steps, 1 repeat: does it work at all?")
    parser.add_argument("--sides", default="peft,ours", help="leave one out to try the other alone")
    parser.add_argument("--no-ceiling", action="store_true")
    parser.add_argument("--program", type=Path, default=REPOSITORY / "build" / "release" / "bin" / "agri_tune")
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("GRAFT_SHARED", REPOSITORY.parent / "shared")))
    parser.add_argument("--cache", type=Path, default=REPOSITORY / "build" / "bench")
    parser.add_argument("--out", type=Path, help="JSON of all that was measured; default build/bench/results/<run id>.json")
    arguments = parser.parse_args(words)
    if arguments.quick:
        arguments.steps, arguments.repeats = 2, 1
    arguments.sides = arguments.sides.split(",")
    names = list(cases.BY_NAME) if arguments.cases == "all" else arguments.cases.split(",")
    unknown = [name for name in names if name not in cases.BY_NAME]
    if unknown:
        parser.error(f"unknown case {', '.join(unknown)}; known: {', '.join(cases.BY_NAME)}")
    change = {"batch_size": arguments.batch_size} if arguments.batch_size else {}
    arguments.cases = [replace(cases.BY_NAME[name], **change) for name in names]
    arguments.run_id = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    arguments.out = arguments.out or arguments.cache / "results" / f"{arguments.run_id}.json"
    return arguments


def main(words: list[str]) -> int:
    arguments = read_arguments(words)
    if "ours" in arguments.sides and not arguments.program.exists():
        say(f"{arguments.program} is not there; ./graft build makes it")
        return 3
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    record = {"run_id": arguments.run_id, "commit": commit(), "seed": cases.SEED, "repeats": arguments.repeats, "machine": machine(arguments.threads),
              "results": []}
    for case in arguments.cases:
        record["results"].append(run_case(case, arguments))
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")
        tell(record["results"][-1])
    print(f"\nwritten to {arguments.out}")
    void = [r["case"] for r in record["results"] if r["peft"] and r["ours"] and not r["comparison"]["same_losses"]]
    return 4 if void else 0
