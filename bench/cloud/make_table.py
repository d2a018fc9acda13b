#!/usr/bin/env python3
"""Writes the tables of cloud_clip in docs/results.md from the folders that compare.py left, and from nothing else.

A row is the mean over the seeds with the standard deviation. Only the text between the two marks of each table is replaced.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

from compare import HERE, REPOSITORY, slug

sys.path.insert(0, str(HERE.parent))
from results_page import RESULTS, put, spread  # noqa: E402

TITLES = {"adaptation": "From CAD to aerial LiDAR, without labels of the target", "few-shot": "Few labelled clouds of building parts"}


def evaluations(folder: Path, case: str) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"{slug(case)}-[0-9]*-eval/summary.json") if path.parent.name[len(slug(case)) + 1:-5].isdigit())


def row(case: str, scores: list[Path], classes: list[str]) -> list:
    results = [json.loads((path / "summary.json").read_text()) for path in scores]
    runs = [path.with_name(path.name.removesuffix("-eval")) for path in scores]
    ids = [json.loads(((run if run.exists() else path) / "manifest.json").read_text())["run_id"] for run, path in zip(runs, scores)]
    per_class = [spread([100 * r["per_class"][name]["accuracy"] for r in results], 0) for name in classes]
    return [case, f"**{spread([100 * r['accuracy'] for r in results], 1)}**", *per_class, spread([r["ece"] for r in results], 2), len(results), ", ".join(ids)]


def table(folder: Path, cases: list[str]) -> str:
    found = {case: evaluations(folder, case) for case in cases}
    found = {case: scores for case, scores in found.items() if scores}
    if not found:
        raise SystemExit(f"{folder}: holds no evaluation")
    first = next(iter(found.values()))[0]
    summary = json.loads((first / "summary.json").read_text())
    header = ["", "accuracy, %", *summary["classes"], "calibration error", "seeds", "run ids"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(map(str, row(case, scores, summary["classes"]))) + " |" for case, scores in found.items()]
    manifests = [json.loads((s / "manifest.json").read_text()) for scores in found.values() for s in scores]
    commits = sorted({manifest["build"]["commit"] for manifest in manifests})
    data = sorted({hashlib.sha256("".join(file["sha256"] for file in manifest["data"]).encode()).hexdigest()[:12] for manifest in manifests})
    lines.append(f"\n{summary['clouds']} test clouds of {len(summary['classes'])} classes, SHA-256 of their files' hashes {', '.join(data)}; commits: {', '.join(commits)}.")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", type=Path, default=REPOSITORY / "build" / "bench" / "cloud")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    plan = json.loads((HERE / "settings.json").read_text())
    for group, settings in plan["groups"].items():
        put(arguments.results, f"clouds, {group}", "bench/cloud/make_table.py", table(arguments.runs / group, list(settings["cases"])), TITLES[group])
    return 0


if __name__ == "__main__":
    sys.exit(main())
