#!/usr/bin/env python3
"""Writes how near a bf16 run stays to the same run in fp32 into docs/results.md, with a picture, from two run folders of agri_tune."""

import argparse
import json
from pathlib import Path

from results_page import RESULTS, put

WINDOW = 20


def lines_of(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in lines_of(run / "metrics.jsonl")]


def smoothed(values: list[float]) -> list[float]:
    """Means over WINDOW steps."""
    return [sum(values[i:i + WINDOW]) / WINDOW for i in range(len(values) - WINDOW + 1)]


def held_out(run: Path) -> float:
    return lines_of(run / "evaluations.jsonl")[-1]["held_out_loss"]


def picture(curves: dict[str, tuple[str, list[float]]]) -> str:
    width, height, left, top = 640, 260, 50, 15
    every = [value for _, curve in curves.values() for value in curve]
    low, high, steps = min(every), max(every), max(len(curve) for _, curve in curves.values())
    x = lambda i: left + (width - left - 15) * i / (steps - 1)  # noqa: E731
    y = lambda v: top + (height - top - 35) * (high - v) / (high - low)  # noqa: E731
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="#ffffff"/>']
    for i in range(5):
        value = low + (high - low) * i / 4
        parts.append(f'<line x1="{left}" y1="{y(value):.1f}" x2="{width - 15}" y2="{y(value):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#333">{value:.2f}</text>')
    for number, (name, (colour, curve)) in enumerate(curves.items()):
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(curve))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{1.6 if number else 4}"/>')
        parts.append(f'<text x="{width - 130}" y="{top + 16 + 18 * number}" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{width / 2:.0f}" y="{height - 8}" text-anchor="middle" fill="#333">step (mean over {WINDOW})</text></svg>')
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fp32", type=Path)
    parser.add_argument("bf16", type=Path)
    runs = parser.parse_args()
    first, second = losses(runs.fp32), losses(runs.bf16)
    if len(first) != len(second):
        raise SystemExit(f"{len(first)} steps against {len(second)}")
    reference, other = smoothed(first), smoothed(second)
    worst = max(abs(b - a) / a for a, b in zip(reference, other))
    ends = held_out(runs.fp32), held_out(runs.bf16)
    manifests = [json.loads((run / "manifest.json").read_text()) for run in (runs.fp32, runs.bf16)]
    (RESULTS.parent / "loss-curve.svg").write_text(picture({"fp32": ("#9fbf9f", reference), "bf16": ("#a33", other)}))
    text = "\n".join([
        "| run | base computes in | steps | held-out loss at the end |", "|---|---|---|---|",
        *(f"| {manifest['run_id']} | {kind} | {len(first)} | {end:.4f} |" for manifest, kind, end in zip(manifests, ("fp32", "bf16"), ends)),
        "", f"Largest distance of the two curves, each smoothed over {WINDOW} steps: **{100 * worst:.2f} %**; held-out losses differ by "
        f"**{100 * abs(ends[1] - ends[0]) / ends[0]:.2f} %**. Seed {manifests[1]['seed']}, commit {manifests[1]['build']['commit']}.",
        "", "![Loss of both runs](loss-curve.svg)"])
    put(RESULTS, "loss curve", "bench/make_loss_curve.py", text, "Loss in bf16 beside fp32")


if __name__ == "__main__":
    main()
