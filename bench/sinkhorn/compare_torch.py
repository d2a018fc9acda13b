#!/usr/bin/env python3
"""Sinkhorn divergence with its gradient, here and as the same steps written with LibTorch's operators: runs bench/kernels/sinkhorn_bench some times
and prints docs/results.md's rows, each the run with the median ratio, with the range of all rounds of all runs.

usage: compare_torch.py [--bench build/release/bin/sinkhorn_bench] [--seconds 1] [--runs 3] [--threads 2]
"""

import argparse
import os
import pathlib
import subprocess
import sys


def measured(bench, seconds, threads):
    """Ceiling (exponentials a second and core) and rows, name -> text, of one run; ends where the two sides' results differ."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    run = subprocess.run([str(bench), str(seconds)], capture_output=True, text=True, env=environment)
    if run.returncode != 0:
        sys.exit(f"{bench} ended with {run.returncode}\n{run.stdout}{run.stderr}")
    first, names, *lines = run.stdout.splitlines()
    return float(first.split("\t")[3]), [dict(zip(names.split("\t"), line.split("\t"))) for line in lines]


def row_of(runs):
    """The same case in all runs -> its line of the table."""
    middle = sorted(runs, key=lambda row: float(row["ratio"]))[len(runs) // 2]
    smallest, largest = min(float(row["smallest"]) for row in runs), max(float(row["largest"]) for row in runs)
    points, width = middle["points"], middle["width"]
    return (f"| {points} and {points} | {width} | {float(middle['ours_ms']):.3f} | {float(middle['libtorch_ms']):.3f} | "
            f"**{float(middle['ratio']):.1f}** ({smallest:.1f}–{largest:.1f}) | {float(middle['cores_of_exponentials']):.2f} | {middle['furthest_apart']} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).parents[2]
    parser.add_argument("--bench", default=root / "build/release/bin/sinkhorn_bench")
    parser.add_argument("--seconds", type=float, default=1.0)
    for name, value in (("runs", 3), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    wanted = parser.parse_args()
    runs = [measured(wanted.bench, wanted.seconds, wanted.threads) for _ in range(wanted.runs)]
    print(f"{wanted.threads} threads; one core makes {max(ceiling for ceiling, _ in runs) / 1e9:.2f} · 10⁹ exponentials a second.\n")
    print("| points | width | ours, ms | LibTorch, ms | ratio | cores kept busy with exponentials | furthest apart |\n|---|---|---|---|---|---|---|")
    for case in sorted(zip(*(rows for _, rows in runs)), key=lambda case: int(case[0]["width"])):
        print(row_of(case))


if __name__ == "__main__":
    main()
