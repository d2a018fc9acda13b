"""`eval` gives the numbers that a few plain lines of Python give from transformers' logits."""

import json
import math

import pytest
import torch

import program
import tiny_models
import training

# Means over some hundred fp32 log-probabilities near -6, each good to 2e-5.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def base(folder):
    return tiny_models.save(tiny_models.build("llama3"), folder / "base", tiny_models.byte_tokenizer())


def log_probabilities(model, ids):
    with torch.no_grad():
        rows = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return [float(rows[i - 1, ids[i]]) for i in range(1, len(ids))]


def test_perplexity(base, tmp_path):
    texts, tokenizer, model = training.rows(12, seed=5), tiny_models.byte_tokenizer(), tiny_models.load(base)
    data = training.write_rows(tmp_path / "rows.jsonl", texts)
    program.succeed("eval", "--model", base, "--data", data, "--task", "perplexity", "--out", tmp_path / "eval",
                    *program.settings({"data.format": "text", "data.template": "plain", "base.dtype": "fp32"}))
    summary = json.loads((tmp_path / "eval" / "summary.json").read_text())
    values = [p for ids in training.token_ids(texts, tokenizer) for p in log_probabilities(model, ids)]
    found = [value for key, value in flat(summary) if key.endswith("perplexity")]
    assert found and math.isclose(math.log(found[0]), -sum(values) / len(values), abs_tol=TOLERANCE)


def flat(value, name=""):
    """(dotted key, number) of all numbers in a nested JSON object."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, value
