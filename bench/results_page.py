"""What the scripts that write docs/results.md share: numbers as text, and blocks between two marks."""

import statistics
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results.md"


def spread(values: list[float], digits: int) -> str:
    """Mean and, where there is more than one value, standard deviation."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def put(page: Path, name: str, script: str, body: str, heading: str, after: str = "") -> None:
    """Replaces what stands between the marks of block `name`, and nothing else; adds block, heading and `after` to a page that lacks the marks."""
    begin, end = f"<!-- {name}: begin ({script}) -->", f"<!-- {name}: end -->"
    text, block = page.read_text() if page.exists() else "", f"{begin}\n{body}\n{end}"
    if begin in text and end in text:
        text = text[:text.index(begin)] + block + text[text.index(end) + len(end):]
    else:
        text = text.rstrip() + ("\n\n" if text.strip() else "# Results\n\n") + f"## {heading}\n\n{block}\n{after}"
    page.write_text(text)
