#!/usr/bin/env python3
"""Writes the benchmark tables of docs/results.md from the JSON files of compare_peft, and from nothing else.

Runs on processors with AMX, with other products of bf16, and with none have blocks of their own; a block without a run among the files stays as it is.
Only the text between the two marks is replaced; what stands around it is left alone.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from results_page import RESULTS, put


def median_of(runs: list[dict], key: str, unit: float = 1.0, digits: int = 0) -> str:
    values = [run[key] / unit for run in runs if run.get(key) is not None]
    return f"{statistics.median(values):.{digits}f}" if values else "–"


def ratio(spread: dict, digits: int = 2) -> str:
    if not spread:
        return "–"
    return f"**{spread['median']:.{digits}f}** ({spread['min']:.{digits}f}–{spread['max']:.{digits}f})"


def ceiling(result: dict) -> str:
    return ", ".join(f"{dtype} {c['tokens_per_second']:.0f}" for dtype, c in result.get("ceiling", {}).items()) or "–"


def row(result: dict) -> str:
    comparison, peft, ours = result["comparison"], result["peft"], result["ours"]
    both = comparison["same_losses"]
    cells = [f"`{result['case']}`", f"{result['steps']} x {statistics.mean(result['tokens_a_step']):.0f}"]
    for key, unit, digits in (("tokens_per_second", 1, 0), ("peak_bytes", 2**30, 2), ("first_step_begins_s", 1, 1), ("first_step_done_s", 1, 1)):
        cells.append(f"{median_of(ours, key, unit, digits)} / {median_of(peft, key, unit, digits)}")
    cells += [ratio(comparison["speed_ratio"]) if both else "void", ratio(comparison["memory_ratio"]) if both else "void"]
    cells += [f"{comparison['largest_loss_difference']:.1e} / {comparison['peft_largest_loss_difference']:.1e}", ceiling(result)]
    return "| " + " | ".join(cells) + " |"


def section(record: dict) -> list[str]:
    machine = record["machine"]
    features = ", ".join(name for name, present in machine["features"].items() if present) or "none of them"
    complete = [r for r in record["results"] if r["peft"] and r["ours"]]
    if not complete:
        return []
    lines = [f"### Run {record['run_id']}", "",
             f"Commit {record['commit']}, seed {record['seed']}, {record['repeats']} runs of each side in turns, {machine['threads']} threads, "
             f"{machine['cpu']} with {features} (of AVX2, AVX-512, AMX), PEFT's torch {complete[0]['peft'][0].get('torch', 'unknown')}.", "",
             "| case | steps x tokens | tokens/s, ours / PEFT | peak GiB | first step begins, s | first step done, s | speed ratio | memory ratio | "
             "largest difference of a loss from fp32, ours / PEFT | ceiling of LibTorch's products, tokens/s |", "|---|---|---|---|---|---|---|---|---|---|"]
    lines += [row(result) for result in complete]
    lines += ["", "Ratios are ours over PEFT's: median, smallest and largest of the neighbouring runs.", ""]
    lines += [f"- `{r['case']}`: {r['note']}" for r in complete if r["note"]]
    hashes = sorted({(r["data"], r["rows_sha256"][:16]) for r in complete} | {(r["model"], r["weights_sha256"][:16]) for r in complete})
    lines += ["", "SHA-256 (first 16 digits): " + ", ".join(f"{name} {digest}" for name, digest in hashes) + ".", ""]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", nargs="+", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    blocks = {"compare_peft": [], "compare_peft without AMX": [], "compare_peft in fp32": []}
    for record in map(json.loads, (file.read_text() for file in arguments.records)):
        features = record["machine"]["features"]
        name = "compare_peft" if features.get("amx_bf16") else "compare_peft without AMX" if features.get("avx512_bf16") else "compare_peft in fp32"
        blocks[name] += section(record)
    for name, lines in blocks.items():
        if lines:
            put(arguments.results, name, "bench/make_results.py", "\n".join(lines).rstrip(), "Speed and memory beside PEFT")
    if not any(blocks.values()):
        print("no record holds a case that ran on both sides", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
