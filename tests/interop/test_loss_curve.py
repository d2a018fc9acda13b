"""20 steps of LoRA here and in PEFT from one start: the same loss at every step, in every setting that changes the arithmetic."""

import json
import math

import pytest
from peft import LoraConfig

import adapters
import program
import tiny_models
import training

# The bound. The reference's own fp32 curve differs from its fp64 one by 1.3e-6 over these 20 steps (measured).
TOLERANCE = 1e-4
STEPS = 20


@pytest.fixture(scope="module")
def bases(folder):
    made = {}

    def base(kind: str):
        if kind not in made:
            path = tiny_models.save(tiny_models.build(kind), folder / kind, tiny_models.byte_tokenizer())
            config = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear")
            adapters.make(path, config, folder / f"{kind}-start", initial=True)
            made[kind] = path, folder / f"{kind}-start"
        return made[kind]

    return base


def compare(ours: list[dict], curve: training.Curve) -> None:
    assert [line["step"] for line in ours] == list(range(1, len(curve.losses) + 1))
    for line, loss, rate, norm in zip(ours, curve.losses, curve.learning_rates, curve.gradient_norms, strict=True):
        assert abs(line["loss"] - loss) <= TOLERANCE, f"step {line['step']}: {line['loss']} here, {loss} in PEFT"
        assert math.isclose(line["learning_rate"], rate, rel_tol=1e-6, abs_tol=1e-12), f"step {line['step']}"
        assert math.isclose(line["gradient_norm"], norm, rel_tol=1e-3), f"step {line['step']}: gradient norm"
    assert max(curve.losses) - min(curve.losses) > 0.5, "nothing was learnt; the comparison is void"


def run_both(kind, bases, tmp_path, changes: dict, recipe: training.Recipe, *, batch_size=2, accumulation=1, seed=11):
    base, start = bases(kind)
    texts = training.rows(STEPS * accumulation * batch_size, seed)
    data = training.write_rows(tmp_path / "rows.jsonl", texts)
    ours = training.train_here(base, data, tmp_path / "run",
                               {"train.batch_size": batch_size, "train.accumulation": accumulation, **changes}, "--init-adapter", start)
    ids = training.token_ids(texts, tiny_models.byte_tokenizer())
    curve = training.train_in_peft(adapters.load(base, start, trainable=True), training.cut(ids, STEPS, accumulation, batch_size), recipe)
    compare(ours, curve)
    return ours, curve


@pytest.mark.parametrize("kind", ["llama3", "qwen2", "qwen3", "smollm2"])
def test_plain_run(kind, bases, tmp_path):
    run_both(kind, bases, tmp_path, {}, training.Recipe())


def test_accumulation_averages_over_tokens_not_over_batches(bases, tmp_path):
    run_both("llama3", bases, tmp_path, {}, training.Recipe(), accumulation=2)


def test_clipping(bases, tmp_path):
    ours, curve = run_both("llama3", bases, tmp_path, {"train.clip_norm": 2.0}, training.Recipe(clip_norm=2.0))
    assert sum(norm > 2.0 for norm in curve.gradient_norms) > STEPS / 2, "clipping never acted"


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_schedules_with_warm_up_are_those_of_transformers(schedule, bases, tmp_path):
    """warmup_ratio 0.12 of 20 steps is 2.4, rounded up to 3 as in transformers' Trainer; the first step has learning rate 0."""
    run_both("llama3", bases, tmp_path, {"train.schedule": schedule, "train.warmup_ratio": 0.12},
             training.Recipe(schedule=schedule, warmup_steps=3))


def test_weight_decay(bases, tmp_path):
    """0.5 is far above any use, so that decay applied to the wrong tensors or in the wrong order shows."""
    run_both("llama3", bases, tmp_path, {"train.weight_decay": 0.5}, training.Recipe(weight_decay=0.5))


def test_lora_plus(bases, tmp_path):
    """LoRA+ gives B a learning rate of its own; the logged one is A's."""
    run_both("llama3", bases, tmp_path, {"train.lora_plus_ratio": 4, "train.learning_rate": 0.001},
             training.Recipe(learning_rate=0.001, lora_plus_ratio=4.0))


def test_activation_checkpointing_changes_nothing(bases, tmp_path):
    run_both("llama3", bases, tmp_path, {"train.checkpointing": "on"}, training.Recipe())


def test_packed_rows_never_attend_to_each_other(bases, tmp_path):
    """All rows fit one pack, so each step sees that pack whole; PEFT gets the rows one by one in a padded batch."""
    base, start = bases("llama3")
    texts = training.rows(6, seed=4, words=(3, 6))
    ids = training.token_ids(texts, tiny_models.byte_tokenizer())
    length = sum(map(len, ids)) + 5
    data = training.write_rows(tmp_path / "rows.jsonl", texts)
    ours = training.train_here(base, data, tmp_path / "run", {"train.packing": True, "train.max_length": length, "train.batch_size": 1},
                               "--init-adapter", start)
    curve = training.train_in_peft(adapters.load(base, start, trainable=True), [[ids]] * STEPS, training.Recipe())
    compare(ours, curve)


def chat_row(question: str, answer: str, tokenizer) -> tuple[list[int], list[bool]]:
    """ChatML as SmolLM2 and Qwen2 write it; the answer and its end mark are learnt."""
    before = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    whole = tokenizer(before + answer + "<|im_end|>\n", add_special_tokens=False, return_offsets_mapping=True)
    end = len(before) + len(answer) + len("<|im_end|>")
    return whole.input_ids, [len(before) <= start < end for start, _ in whole.offset_mapping]


def test_loss_on_answers_of_a_chat(bases, tmp_path):
    base, start = bases("smollm2")
    texts, tokenizer = training.rows(4 * STEPS), tiny_models.byte_tokenizer()
    pairs = list(zip(texts[::2], texts[1::2]))
    lines = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in pairs]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ours = training.train_here(base, data, tmp_path / "run", {"data.format": "openai", "data.template": "chatml", "data.loss_on": "answers",
                                                              "train.max_length": 256}, "--init-adapter", start)
    chats = [chat_row(q, a, tokenizer) for q, a in pairs]
    curve = training.train_in_peft(adapters.load(base, start, trainable=True), training.cut(chats, STEPS, 1, 2), training.Recipe())
    compare(ours, curve)


def test_documents_beyond_max_length_are_split(bases, tmp_path):
    """All of a document is learnt, in pieces of max_length."""
    # A piece of two tokens has gradients so small that AdamW blows their rounding up to whole steps; a lower rate keeps that below the bound.
    rate = 0.001
    base, start = bases("llama3")
    texts = training.rows(STEPS, seed=6, words=(12, 20))
    whole = training.token_ids(texts, tiny_models.byte_tokenizer())
    ids = [row[i:i + 24] for row in whole for i in range(0, len(row), 24) if len(row) - i > 1]
    data = training.write_rows(tmp_path / "rows.jsonl", texts)
    ours = training.train_here(base, data, tmp_path / "run", {"train.batch_size": 1, "train.max_length": 24, "train.learning_rate": rate}, "--init-adapter", start)
    curve = training.train_in_peft(adapters.load(base, start, trainable=True), training.cut(ids, STEPS, 1, 1), training.Recipe(learning_rate=rate))
    compare(ours, curve)


def test_nf4_base_follows_bitsandbytes(bases, tmp_path):
    """Equal NF4 weights, fp32 products on both sides: the dense bound holds."""
    pytest.importorskip("bitsandbytes")
    from peft import PeftModel

    base, start = bases("llama3-whole-blocks")
    texts = training.rows(STEPS * 2)
    data = training.write_rows(tmp_path / "rows.jsonl", texts)
    ours = training.train_here(base, data, tmp_path / "run", {"base.quantize": "nf4"}, "--init-adapter", start)
    model = PeftModel.from_pretrained(tiny_models.load_nf4(base), start, is_trainable=True)
    ids = training.token_ids(texts, tiny_models.byte_tokenizer())
    compare(ours, training.train_in_peft(model, training.cut(ids, STEPS, 1, 2), training.Recipe()))


def test_bf16_base_stays_near(bases, tmp_path):
    """bf16 rounds every product to 2^-8 of itself; losses near 9 that mix some thousand of them stay within 0.05 of fp32's."""
    base, start = bases("llama3")
    texts = training.rows(STEPS * 2)
    data = training.write_rows(tmp_path / "rows.jsonl", texts)
    exact = training.train_here(base, data, tmp_path / "exact", {}, "--init-adapter", start)
    rounded = training.train_here(base, data, tmp_path / "rounded", {"base.dtype": "bf16"}, "--init-adapter", start)
    differences = [abs(a["loss"] - b["loss"]) for a, b in zip(exact, rounded, strict=True)]
    assert 0 < max(differences) < 0.05, differences


def test_the_metrics_lines_have_the_promised_keys(bases, tmp_path):
    base, start = bases("llama3")
    data = training.write_rows(tmp_path / "rows.jsonl", training.rows(4))
    for line in training.train_here(base, data, tmp_path / "run", {"train.max_steps": 2}):
        assert {"step", "loss", "learning_rate", "tokens_per_second", "peak_memory_bytes"} <= set(line)
        assert line["tokens_per_second"] > 0 and line["peak_memory_bytes"] > 50e6
    assert program.metrics(tmp_path / "run")
