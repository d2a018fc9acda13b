"""What ctest calls: pytest on the files given. 77 (ctest: skipped) where the peers are missing or every test was skipped."""

import importlib.util
import sys

SKIPPED = 77


class Outcomes:
    def __init__(self):
        self.ran, self.skipped = 0, 0

    def pytest_runtest_logreport(self, report):
        if report.skipped:
            self.skipped += 1
        elif report.when == "call":
            self.ran += 1


def main(files: list[str]) -> int:
    needed = ("pytest", "torch", "transformers", "peft", "gguf", "safetensors", "tokenizers")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        print(f"SKIPPED: Python packages missing: {', '.join(missing)}; they are listed in tests/interop/requirements.txt")
        return SKIPPED
    import pytest

    outcomes = Outcomes()
    code = pytest.main(["-q", "-ra", "--tb=short", "-p", "no:cacheprovider", *files], plugins=[outcomes])
    if code == 0 and outcomes.ran == 0:
        return SKIPPED
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
