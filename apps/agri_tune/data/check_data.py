#!/usr/bin/env python3
"""Check the agricultural question-answer set in this folder.

Usage: python3 check_data.py [folder] [--readme]

Verifies the JSON, the fields, the ids, the sources and the split between
them, near-duplicate questions, answer lengths and the multiple choice
answers, then prints counts. Exits 1 when it finds a fault. With --readme it
prints the counts as the Markdown table used in README.md.
"""
import json
import re
import sys
from collections import Counter
from pathlib import Path

QA_FIELDS = {"id", "instruction", "input", "output", "topic", "source_id"}
CHOICE_FIELDS = {"id", "question", "choices", "answer", "topic", "source_id"}
SOURCE_REQUIRED = {"title", "publisher", "year", "kind", "used_for"}
SOURCE_ALLOWED = SOURCE_REQUIRED | {"url"}
MIN_WORDS, MAX_WORDS = 15, 60
MAX_JACCARD = 0.8
SPLITS = ("train", "heldout", "choice")


def tokens(text):
    return frozenset(re.findall(r"[a-z0-9]+", text.lower()))


def jaccard(a, b):
    return len(a & b) / len(a | b) if a | b else 1.0


def load_lines(path, faults):
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        faults.append(f"{path.name}: cannot be read: {err}")
        return rows
    for number, line in enumerate(lines, 1):
        where = f"{path.name}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as err:
            faults.append(f"{where}: not valid JSON: {err}")
            continue
        if not isinstance(row, dict):
            faults.append(f"{where}: not a JSON object")
            continue
        rows.append((where, row))
    return rows


def check_fields(where, row, wanted, faults):
    good = True
    if set(row) != wanted:
        faults.append(f"{where}: fields {sorted(row)}, wanted {sorted(wanted)}")
        good = False
    for name in wanted & set(row):
        if name == "choices":
            continue
        value = row[name]
        if not isinstance(value, str):
            faults.append(f"{where}: {name} is not a string")
            good = False
        elif name != "input" and not value.strip():
            faults.append(f"{where}: {name} is empty")
            good = False
        elif value != value.strip():
            faults.append(f"{where}: {name} has spaces around it")
    return good


def check_choice(where, row, faults):
    choices = row["choices"]
    if not isinstance(choices, dict) or list(choices) != ["A", "B", "C", "D"]:
        faults.append(f"{where}: choices must be A, B, C, D in order")
        return
    if any(not isinstance(v, str) or not v.strip() for v in choices.values()):
        faults.append(f"{where}: an option is empty or not a string")
        return
    if len({v.strip().lower() for v in choices.values()}) != 4:
        faults.append(f"{where}: two options are the same")
    letters = row["answer"].split(",")
    if letters != sorted(set(letters)) or not set(letters) <= set("ABCD"):
        faults.append(f"{where}: answer {row['answer']!r} is not valid")
    elif len(letters) == 4:
        faults.append(f"{where}: every option is marked right")


def main():
    args = [a for a in sys.argv[1:] if a != "--readme"]
    folder = Path(args[0]) if args else Path(__file__).resolve().parent
    faults = []

    try:
        sources = json.loads((folder / "sources.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as err:
        print(f"FAULT sources.json: {err}")
        return 1
    for key, source in sources.items():
        missing = SOURCE_REQUIRED - set(source)
        extra = set(source) - SOURCE_ALLOWED
        if missing or extra:
            faults.append(f"sources.json: {key}: missing {sorted(missing)}, extra {sorted(extra)}")

    data = {}
    ids = Counter()
    for split in SPLITS:
        wanted = CHOICE_FIELDS if split == "choice" else QA_FIELDS
        data[split] = []
        for where, row in load_lines(folder / f"{split}.jsonl", faults):
            if not check_fields(where, row, wanted, faults):
                continue
            data[split].append((where, row))
            ids[row["id"]] += 1
            if row["source_id"] not in sources:
                faults.append(f"{where}: unknown source {row['source_id']}")
            if split == "choice":
                check_choice(where, row, faults)
            else:
                count = len(row["output"].split())
                if not MIN_WORDS <= count <= MAX_WORDS:
                    faults.append(f"{where}: answer has {count} words")
        if not data[split]:
            faults.append(f"{split}.jsonl: no items")
    for key, count in ids.items():
        if count > 1:
            faults.append(f"id {key} is used {count} times")

    used = {s: {row["source_id"] for _, row in data[s]} for s in SPLITS}
    both = used["train"] & (used["heldout"] | used["choice"])
    if both:
        faults.append(f"sources on both sides of the split: {sorted(both)}")
    unused = set(sources) - set().union(*used.values())
    if unused:
        faults.append(f"sources that no item uses: {sorted(unused)}")

    train_topics = {row["topic"] for _, row in data["train"]}
    for split in ("heldout", "choice"):
        for where, row in data[split]:
            if row["topic"] not in train_topics:
                faults.append(f"{where}: topic {row['topic']!r} is not in train")

    questions = []
    for split in SPLITS:
        field = "question" if split == "choice" else "instruction"
        for where, row in data[split]:
            questions.append((where, split, row[field], tokens(row[field])))
    closest = (0.0, "", "")
    for i, (where, split, text, words) in enumerate(questions):
        for other, other_split, other_text, other_words in questions[i + 1:]:
            score = jaccard(words, other_words)
            if text.strip().lower() == other_text.strip().lower():
                faults.append(f"{where} and {other}: same question")
            elif score > MAX_JACCARD:
                faults.append(f"{where} and {other}: near-duplicate questions ({score:.2f})")
            if (split == "train") != (other_split == "train") and score > closest[0]:
                closest = (score, where, other)

    count = {s: Counter(row["topic"] for _, row in data[s]) for s in SPLITS}
    topics = list(dict.fromkeys(row["topic"] for s in SPLITS for _, row in data[s]))
    single = Counter(row["answer"] for _, row in data["choice"] if "," not in row["answer"])
    several = sum("," in row["answer"] for _, row in data["choice"])
    if single and max(single.values()) > 2 * max(1, min(single[x] for x in "ABCD")):
        faults.append(f"choice.jsonl: answers are not balanced: {dict(single)}")

    if "--readme" in sys.argv:
        print("| Topic | train | heldout | choice |")
        print("|---|---:|---:|---:|")
        for topic in topics:
            print(f"| {topic} | " + " | ".join(str(count[s][topic]) for s in SPLITS) + " |")
        print("| **all** | " + " | ".join(f"**{len(data[s])}**" for s in SPLITS) + " |")
    else:
        print(f"{'topic':44}" + "".join(f"{s:>9}" for s in SPLITS))
        for topic in topics:
            print(f"{topic:44}" + "".join(f"{count[s][topic]:9}" for s in SPLITS))
        print(f"{'all':44}" + "".join(f"{len(data[s]):9}" for s in SPLITS))
        print(f"{'sources':44}" + "".join(f"{len(used[s]):9}" for s in SPLITS))
        lengths = [len(r["output"].split()) for s in ("train", "heldout") for _, r in data[s]]
        if lengths:
            print(f"answer words: min {min(lengths)}, mean {sum(lengths) / len(lengths):.1f}, max {max(lengths)}")
        print("choice answers: " + ", ".join(f"{x} {single[x]}" for x in "ABCD") + f", several {several}")
        print(f"closest questions across the split: {closest[0]:.2f} ({closest[1]}, {closest[2]})")

    for fault in faults:
        print(f"FAULT {fault}", file=sys.stderr)
    if faults:
        print(f"{len(faults)} fault(s)", file=sys.stderr)
        return 1
    if "--readme" not in sys.argv:
        print("clean")
    return 0


if __name__ == "__main__":
    sys.exit(main())
