"""`eval` gives the numbers that a few plain lines of Python give from transformers' logits."""

import collections
import json
import math
import random
import re
import string

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


CHATML = {"data.template": "chatml", "base.dtype": "fp32"}


def evaluate(base, data, task, out, *extra):
    program.succeed("eval", "--model", base, "--data", data, "--task", task, "--out", out, *extra, *program.settings(CHATML))
    predictions = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    return json.loads((out / "summary.json").read_text()), predictions


def chat_prompt(tokenizer, question: str) -> list:
    return tokenizer(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False).input_ids


def choice_items() -> list:
    """Options of unlike length, so that a sum of log-probabilities and their mean choose differently; the last item has two right answers."""
    draw, words = random.Random(4), sorted({word for line in tiny_models.CORPUS for word in line.split()})
    items = [{"id": f"item {i}", "question": f"{i}: what {draw.choice(words)} does the {draw.choice(words)} need?",
              "choices": [" ".join(draw.choice(words) for _ in range(length)) for length in (1, 2, 4, 6)],
              "answer": draw.choice("ABCD")} for i in range(20)]
    items[-1]["answer"] = "AC"
    return items


def test_choice_by_likelihood(base, tmp_path):
    items, tokenizer, model = choice_items(), tiny_models.byte_tokenizer(), tiny_models.load(base)
    data = tmp_path / "choice.jsonl"
    data.write_text("".join(json.dumps(item) + "\n" for item in items))
    summary, predictions = evaluate(base, data, "choice", tmp_path / "eval", "--max-new-tokens", 3)
    right, by_sum = 0, 0
    for item, prediction in zip(items[:-1], predictions):
        prompt, means, sums = chat_prompt(tokenizer, item["question"]), [], []
        for choice in item["choices"]:
            ids = tokenizer(choice, add_special_tokens=False).input_ids
            values = log_probabilities(model, prompt + ids)[-len(ids):]
            means.append(sum(values) / len(values)), sums.append(sum(values))
        best, second = sorted(means)[-1], sorted(means)[-2]
        assert best - second > TOLERANCE, "a tie: choose another seed"
        assert prediction["likeliest"] == "ABCD"[means.index(best)], item["id"]
        right += prediction["likeliest"] == item["answer"]
        by_sum += means.index(best) != sums.index(max(sums))
    assert by_sum > 0, "these items do not tell a mean from a sum"
    assert "likeliest" not in predictions[-1], "two right answers: no single option is right"
    assert summary["by_likelihood"]["items"] == 19 and math.isclose(summary["by_likelihood"]["accuracy"], right / 19)


def test_choice_by_letter_counts_what_it_says(base, tmp_path):
    """A model that has learnt to answer B: exact set, unparseable apart, consistency over both orders."""
    items = choice_items()
    data, lessons = tmp_path / "choice.jsonl", tmp_path / "lessons.jsonl"
    data.write_text("".join(json.dumps(item) + "\n" for item in items))
    lessons.write_text("".join(json.dumps({**item, "answer": "B"}) + "\n" for item in items))
    settings = {**training.PLAIN, **CHATML, "data.format": "choice", "data.loss_on": "answers", "train.max_steps": 60, "train.learning_rate": 0.01,
                "train.max_length": 256}
    program.succeed("train", "--model", base, "--data", lessons, "--out", tmp_path / "run", *program.settings(settings))
    summary, predictions = evaluate(base, data, "choice", tmp_path / "eval", "--max-new-tokens", 3, "--adapter", tmp_path / "run")
    assert sum(p["letters"] == "B" for p in predictions) > 15, "the lessons were not learnt"
    letters, gold = [p["letters"] for p in predictions], [item["answer"] for item in items]
    assert [p["correct"] for p in predictions] == [a == b for a, b in zip(letters, gold)]
    assert math.isclose(summary["by_letter"]["accuracy"], sum(a == b for a, b in zip(letters, gold)) / len(items))
    assert summary["by_letter"]["unparseable"] == letters.count("")
    shuffled = [p["letters_shuffled"] for p in predictions]
    assert math.isclose(summary["by_letter_shuffled"]["accuracy"], sum(a == b for a, b in zip(shuffled, gold)) / len(items))
    same = sum(a == b != "" for a, b in zip(letters, shuffled))
    assert math.isclose(summary["consistency"], same / len(items)) and same < len(items), "B in another order is another content"


def squad_words(text: str) -> list:
    plain = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def squad_f1(prediction: str, gold: str) -> float:
    a, b = squad_words(prediction), squad_words(gold)
    shared = sum((collections.Counter(a) & collections.Counter(b)).values())
    return 2 * shared / (len(a) + len(b)) if a and b else float(a == b)


def rouge_l(prediction: str, gold: str) -> float:
    """ASCII words suffice: the adapter has learnt to write nothing else."""
    a, b = (re.findall(r"[a-z0-9]+", text.lower()) for text in (prediction, gold))
    rows = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            rows[i + 1][j + 1] = rows[i][j] + 1 if x == y else max(rows[i][j + 1], rows[i + 1][j])
    return 2 * rows[-1][-1] / (len(a) + len(b)) if a and b else 0.0


def test_answers(base, tmp_path):
    rows = [{"instruction": f"say {i}", "output": f"The {a}, and {b}!"} for i, (a, b) in
            enumerate([("rice", "soil"), ("wheat", "the field"), ("season", "rice"), ("soil", "a crop")] * 2)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    # Greedy texts of the base, token for token.
    tokenizer, model = tiny_models.byte_tokenizer(), tiny_models.load(base)
    _, predictions = evaluate(base, data, "answer", tmp_path / "base", "--max-new-tokens", 8)
    for row, prediction in zip(rows, predictions):
        ids, stop = chat_prompt(tokenizer, row["instruction"]), [tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|endoftext|>")]
        made = model.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False, eos_token_id=stop, pad_token_id=0)[0][len(ids):]
        assert prediction["answer"] == tokenizer.decode(made, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    # Scores of texts that are partly right: the adapter has learnt the sentences but not well whose they are.
    settings = {**training.PLAIN, **CHATML, "data.format": "alpaca", "data.loss_on": "answers", "data.deduplicate": "off", "train.max_steps": 30,
                "train.learning_rate": 0.01}
    program.succeed("train", "--model", base, "--data", data, "--out", tmp_path / "run", *program.settings(settings))
    summary, predictions = evaluate(base, data, "answer", tmp_path / "adapted", "--max-new-tokens", 24, "--adapter", tmp_path / "run")
    for row, prediction in zip(rows, predictions):
        answer, gold = prediction["answer"], row["output"]
        assert answer.isascii(), answer
        assert prediction["exact_match"] == float(squad_words(answer) == squad_words(gold))
        assert math.isclose(prediction["f1"], squad_f1(answer, gold), abs_tol=1e-9), answer
        assert math.isclose(prediction["rouge_l"], rouge_l(answer, gold), abs_tol=1e-9), answer
    for key in ("exact_match", "f1", "rouge_l"):
        assert math.isclose(summary[key]["mean"], sum(p[key] for p in predictions) / len(rows), abs_tol=1e-9)
    assert 0 < summary["f1"]["mean"] < 1, "all right or all wrong proves little"


def flat(value, name=""):
    """(dotted key, number) of all numbers in a nested JSON object."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, value
