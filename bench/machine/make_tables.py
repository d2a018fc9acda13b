#!/usr/bin/env python3
"""Writes five tables of docs/results.md, and docs/scaling.svg, from the JSON files of `./graft bench --json`, and from nothing else.

A run is called as its file is. Of a whole run a layer's products, attention, the head, the row operators, the optimizer and the step are
shown, in a table of their own where the processor has no AMX, and in another where it has no products of bf16; a run of `--only scaling`
becomes table and plot of the cost over tokens and adapters; runs of `--only step` under GRAFT_CPU become the table of steps without AMX.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from results_page import RESULTS, put  # noqa: E402

COLUMNS = {"tokens a step": "LibTorch's time / ours", "adapters in a step": "time of one adapter / ours"}


def spread(values: dict, unit: float, digits: int) -> str:
    median, low, high = (values[key] * unit for key in ("median", "smallest", "largest"))
    return f"{median:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def cells(row: dict, digits: int = 0) -> list[str]:
    return [row["name"], spread(row["ours_seconds"], 1e3, digits), spread(row["theirs_seconds"], 1e3, digits), f"**{spread(row['ratio'], 1, 2)}**",
            f"{row['ours_rate']:.0f}", f"{100 * row['share_of_ceiling']:.0f} %"]


def machine(run: dict, name: str) -> str:
    busy = " Other work filled the cores." if run["busy"] else ""
    return f"Run {name}: commit {run['commit']}, LibTorch {run['libtorch']}, {run['processor']}, {run['threads']} threads, seed 7, random data.{busy}"


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows)])


def kernels(run: dict, name: str) -> str:
    shown = [row for row in run["rows"] if row["name"].startswith("a layer") or not row["section"].startswith(("products", "NF4"))]
    head = ["kernel", "ours, ms", "the other side, ms", "its time / ours", "target", "of the ceiling"]
    rows = []
    for row in shown:
        _, ours, theirs, ratio, _, share = cells(row, 2)
        target = f"{row['target']:.2g}{'' if row['ratio']['median'] >= row['target'] else ', missed'}" if "target" in row else ""
        rows.append([f"{row['section']}: {row['name']}", ours, theirs, ratio, target, share])
    return table(head, rows) + "\n\n" + machine(run, name)


def titled(run: dict, title: str) -> list[dict]:
    return [row for row in run["rows"] if row["section"].startswith(title)]


def scaling(run: dict, name: str) -> str:
    parts = []
    for title, ratio in COLUMNS.items():
        head = [title, "ours, ms", f"{'LibTorch' if title.startswith('tokens') else 'one adapter'}, ms", ratio, "ours, tokens/s", "of the ceiling"]
        parts += [table(head, [cells(row) for row in titled(run, title)]), ""]
    return "\n".join([*parts, machine(run, name), "", "![Tokens a second over tokens and adapters](scaling.svg)"])


def plot(run: dict, file: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "graft"  # the same bytes for the same numbers
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    tokens = titled(run, "tokens a step")
    sizes = [row["work"] for row in tokens]
    left.plot(sizes, [row["ours_rate"] for row in tokens], "o-", label="ours")
    left.plot(sizes, [row["work"] / row["theirs_seconds"]["median"] for row in tokens], "s-", color="0.6", label="LibTorch")
    left.set_xscale("log", base=2), left.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
    left.set_xlabel("packed tokens a step, sequences of 512"), left.set_ylabel("tokens a second"), left.legend(loc="center right")
    adapters = titled(run, "adapters in a step")
    single = adapters[0]["work"] / adapters[0]["theirs_seconds"]["median"]
    right.plot([1, *(int(row["name"].split()[0]) for row in adapters)], [single, *(row["ours_rate"] for row in adapters)], "o-")
    right.set_xlabel("adapters that share a step of 8 x 512 tokens")
    left.set_ylim(bottom=0)
    figure.tight_layout(), figure.savefig(file, metadata={"Date": None})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    limited, notes = [], []
    for file in arguments.files:
        run = json.loads(file.read_text())
        if titled(run, "tokens a step"):
            put(arguments.results, "scaling", "bench/machine/make_tables.py", scaling(run, file.stem), "Cost over tokens and adapters")
            plot(run, arguments.results.parent / "scaling.svg")
        elif titled(run, "products"):
            ceilings = run["ceilings"]
            block = "kernels" if ceilings["tiles_bf16"] else "kernels without AMX" if ceilings["vectors_bf16"] else "kernels in fp32"
            put(arguments.results, block, "bench/machine/make_tables.py", kernels(run, file.stem), "Kernels beside LibTorch's operators")
        elif run["limit"]:
            limited += [[f"`{run['limit']}`", run["kernels"]["packed products"], run["kernels"]["attention"], *cells(row)[1:5]]
                        for row in titled(run, "training step")]
            notes.append(machine(run, file.stem))
    if limited:
        head = ["limit", "products by", "attention by", "ours, ms", "LibTorch, ms", "LibTorch's time / ours", "ours, tokens/s"]
        put(arguments.results, "limits", "bench/machine/make_tables.py", table(head, limited) + "\n\n" + "\n".join(notes), "Without AMX")
    return 0


if __name__ == "__main__":
    sys.exit(main())
