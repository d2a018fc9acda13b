#!/usr/bin/env python3
"""Writes the comparison of methods in docs/results.md, and its plot docs/methods.svg, from the run folders of compare_methods.py alone.

A method's row is the mean over its seeds with the standard deviation, but for the time a step: of the seeds' medians the least, since other work on
the machine only ever adds. A method with fewer seeds than another says so. Only the text between the two marks is replaced.
"""

import argparse
import json
import re
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from results_page import RESULTS, put, spread  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
HEADER = ["method", "trainable parameters", "held-out loss", "peak GiB", "s a step, quickest seed", "seeds", "run ids"]


def lines_of(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def threads_of(run: Path, manifest: dict) -> int:
    wanted = int(re.search(r"^run:\n(?:  .*\n)*?  threads: (\d+)", (run / "config.yaml").read_text(), re.MULTILINE)[1])
    return wanted or manifest["machine"]["threads"]


def read_run(run: Path) -> dict:
    manifest, steps, evaluations = json.loads((run / "manifest.json").read_text()), lines_of(run / "metrics.jsonl"), lines_of(run / "evaluations.jsonl")
    if evaluations[-1]["step"] != steps[-1]["step"]:
        raise SystemExit(f"{run}: lacks the evaluation after training")
    return {"id": manifest["run_id"], "commit": manifest["build"]["commit"], "parameters": manifest["trainable_parameters"],
            "before": evaluations[0]["held_out_loss"], "loss": evaluations[-1]["held_out_loss"], "peak": steps[-1]["peak_memory_bytes"] / 2**30,
            "machine": f"{manifest['machine']['cpu']}, threads a run: {threads_of(run, manifest)}",
            # The first steps lay weights out and fill caches.
            "seconds": statistics.median(s["seconds"] for s in steps[3:]), "steps": steps[-1]["step"],
            "data": ", ".join(f"{Path(d['path']).name} {d['sha256'][:12]}" for d in manifest["data"])}


def pareto(rows: dict) -> set:
    """Methods that no other beats in both parameters and loss."""
    points = {m: (runs[0]["parameters"], statistics.mean(r["loss"] for r in runs)) for m, runs in rows.items()}
    return {m for m, (p, l) in points.items() if not any(q <= p and k <= l and (q, k) != (p, l) for q, k in points.values())}


def plot(rows: dict, file: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "graft"  # the same bytes for the same numbers
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 6))
    front = pareto(rows)
    base = next(iter(rows.values()))[0]["before"]
    worse = [f"{m} {statistics.mean(r['loss'] for r in runs):.2f}" for m, runs in rows.items() if statistics.mean(r["loss"] for r in runs) > base]
    for method, runs in rows.items():
        losses = [r["loss"] for r in runs]
        if statistics.mean(losses) > base:
            continue  # named below the axis: they would press all others together
        axes.errorbar(runs[0]["parameters"], statistics.mean(losses), yerr=statistics.stdev(losses) if len(losses) > 1 else 0, fmt="o",
                      color="tab:blue" if method in front else "0.6", markersize=5)
        axes.annotate(method, (runs[0]["parameters"], statistics.mean(losses)), xytext=(4, 4), textcoords="offset points", fontsize=7,
                      color="black" if method in front else "0.4")
    axes.set_xscale("log"), axes.set_xlabel("trainable parameters" + (f"      (not drawn, worse than the base's {base:.2f}: {', '.join(worse)})" if worse else "")), axes.set_ylabel("held-out loss, nats a token")
    axes.set_title("Blue: no other method has both fewer parameters and a lower loss")
    figure.tight_layout(), figure.savefig(file, metadata={"Date": None})


def table(rows: dict) -> str:
    any_run = next(iter(rows.values()))[0]
    body = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    front = pareto(rows)
    for method, runs in sorted(rows.items(), key=lambda row: statistics.mean(r["loss"] for r in row[1])):
        cells = [f"**{method}**" if method in front else method, f"{runs[0]['parameters']:,}", spread([r["loss"] for r in runs], 4),
                 spread([r["peak"] for r in runs], 2), f"{min(r['seconds'] for r in runs):.2f}", len(runs), ", ".join(r["id"] for r in runs)]
        body.append("| " + " | ".join(map(str, cells)) + " |")
    commits, machines = (sorted({r[key] for runs in rows.values() for r in runs}) for key in ("commit", "machine"))
    body.append(f"\n{any_run['steps']} steps; the base's loss is {any_run['before']:.4f}. Data (SHA-256): {any_run['data']}. {'; '.join(machines)}. Commits: {', '.join(commits)}.")
    return "\n".join(body)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", type=Path, default=REPOSITORY / "build" / "bench" / "methods")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows: dict = {}
    for run in sorted(arguments.runs.iterdir()):
        if (run / "adapter_model.safetensors").exists():
            rows.setdefault(run.name.rsplit("-", 1)[0], []).append(read_run(run))
    if not rows:
        raise SystemExit(f"{arguments.runs}: holds no finished run")
    put(arguments.results, "methods", "bench/methods/make_table.py", table(rows), "Methods compared", "\n![Loss over parameters](methods.svg)\n")
    plot(rows, arguments.results.parent / "methods.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
