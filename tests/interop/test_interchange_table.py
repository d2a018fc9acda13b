"""docs/interchange.md lists which methods cross to Hugging Face PEFT and back. It is made from the cases that test_adapters.py and
test_method_curves.py run, so it cannot promise what is not tested. GRAFT_UPDATE_DOCS=1 writes it anew."""

import json
import os

import exchange_cases
import program

PAGE = program.REPOSITORY / "docs" / "interchange.md"
BEGIN, END = "<!-- table: begin (tests/interop/test_interchange_table.py) -->", "<!-- table: end -->"
# Cases named after what is special about them belong to LoRA.
OF_LORA = ("rslora", "patterns", "bias", "saved", "gaussian", "targets")


def method_of(case: str, methods: list[str]) -> str:
    name = case.replace("-", "_")
    fitting = [m for m in methods if name == m or name.startswith(m + "_")]
    if fitting:
        return max(fitting, key=len)
    assert case.startswith(OF_LORA), f"case '{case}' begins with no method's name"
    return "lora"


def table() -> str:
    lines = program.succeed("inspect", "--methods").stdout.splitlines()
    methods = [json.loads(line)["name"] for line in lines]
    made, trained = {m: [] for m in methods}, {m: [] for m in methods}
    for case in exchange_cases.MADE_BY_PEFT:
        made[method_of(case, methods)].append(case)
    for case, (_, settings) in exchange_cases.TRAINED_HERE.items():
        trained[settings.get("method.name", "lora")].append(case)
    rows = ["| method | PEFT's files load here | files of here load in PEFT | losses of 200 steps agree |", "|---|---|---|---|"]
    for method in methods:
        cells = [", ".join(made[method]) or "–", ", ".join(trained[method]) or "–", "yes" if method in exchange_cases.CURVES else "–"]
        rows.append(f"| [{method}](methods/{method}.md) | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def test_the_page_is_up_to_date():
    text = PAGE.read_text()
    current = text[:text.index(BEGIN)] + f"{BEGIN}\n{table()}\n{END}" + text[text.index(END) + len(END):]
    if os.environ.get("GRAFT_UPDATE_DOCS"):
        PAGE.write_text(current)
    assert PAGE.read_text() == current, "run this test with GRAFT_UPDATE_DOCS=1 and look at what changed"
