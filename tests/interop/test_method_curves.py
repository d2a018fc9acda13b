"""Every method that PEFT has, trained here and there from one start: the same losses for 200 steps."""

import pytest

import adapters
import exchange_cases
import tiny_models
import training

STEPS = 200
TOLERANCE = 1e-3  # the bound


@pytest.mark.parametrize("method", exchange_cases.CURVES)
def test_losses_agree(method, folder, tmp_path):
    kind, config = exchange_cases.CURVES[method]
    tokenizer = tiny_models.byte_tokenizer()
    base = tiny_models.save(tiny_models.build(kind), folder / kind, tokenizer)
    adapters.make(base, config, tmp_path / "start", initial=True)
    texts = training.rows(2 * 40)  # five epochs in file order
    data = training.write_rows(tmp_path / "rows.jsonl", texts)
    ours = training.train_here(base, data, tmp_path / "run", {"train.max_steps": STEPS}, "--init-adapter", tmp_path / "start")
    ids = training.token_ids(texts, tokenizer) * 5
    curve = training.train_in_peft(adapters.load(base, tmp_path / "start", trainable=True), training.cut(ids, STEPS, 1, 2), training.Recipe())
    worst = max(range(STEPS), key=lambda i: abs(ours[i]["loss"] - curve.losses[i]))
    assert abs(ours[worst]["loss"] - curve.losses[worst]) <= TOLERANCE, f"step {worst + 1}: {ours[worst]['loss']} here, {curve.losses[worst]} in PEFT"
    assert max(curve.losses) - min(curve.losses) > 0.3, "nothing was learnt; the comparison is void"
