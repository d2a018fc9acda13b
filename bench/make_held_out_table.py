#!/usr/bin/env python3
"""Writes the table of held-out losses in docs/results.md from run folders of agri_tune, and from nothing else.

Only the text between the two marks is replaced; what stands around it is left alone.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from results_page import RESULTS, put

HEADER = ["run", "base", "method", "steps", "tokens trained on", "held-out loss, base", "tuned", "perplexity, base", "tuned",
          "tokens/s", "peak GiB", "seed", "commit", "data, SHA-256"]


def lines_of(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def row(run: Path) -> str:
    manifest, adapter = json.loads((run / "manifest.json").read_text()), json.loads((run / "adapter_config.json").read_text())
    steps, evaluations = lines_of(run / "metrics.jsonl"), lines_of(run / "evaluations.jsonl")
    before, after = evaluations[0], evaluations[-1]
    if before["step"] != 0 or after["step"] != steps[-1]["step"]:
        raise SystemExit(f"{run}: lacks the evaluation before or after training")
    base = f"{Path(manifest['model']['path']).name} ({manifest['base_fingerprint'][:12]})"
    cells = [manifest["run_id"], base, f"{adapter['peft_type']} r {adapter.get('r', '–')}", steps[-1]["step"],
             f"{sum(s['tokens'] for s in steps):,}", f"{before['held_out_loss']:.3f}", f"**{after['held_out_loss']:.3f}**",
             f"{before['held_out_perplexity']:.1f}", f"**{after['held_out_perplexity']:.1f}**",
             f"{statistics.median(s['tokens_per_second'] for s in steps):.0f}", f"{steps[-1]['peak_memory_bytes'] / 2**30:.2f}",
             manifest["seed"], manifest["build"]["commit"],
             ", ".join(f"{Path(d['path']).name} {d['sha256'][:12]}" for d in manifest["data"])]
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    body = "\n".join(["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)] + [row(run) for run in arguments.runs])
    put(arguments.results, "held out", "bench/make_held_out_table.py", body, "Held-out loss of a tuned model")
    return 0


if __name__ == "__main__":
    sys.exit(main())
