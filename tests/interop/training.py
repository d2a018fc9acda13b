"""The same small training job here and in transformers + PEFT: rows, settings, and a plain reference loop."""

import json
import math
import random
from dataclasses import dataclass, field
from pathlib import Path

import torch

import program
import tiny_models

# Nothing random, nothing switched on: what is left is the mathematics that both sides have to share.
PLAIN = {
    "method.rank": 8, "method.alpha": 16, "method.dropout": 0, "method.targets": "all-linear", "base.dtype": "fp32",
    "train.max_steps": 20, "train.batch_size": 2, "train.max_length": 128, "train.accumulation": 1, "train.learning_rate": 0.003,
    "train.weight_decay": 0, "train.schedule": "constant", "train.warmup_ratio": 0, "train.clip_norm": 0, "train.packing": False,
    "train.checkpointing": "off", "train.seed": 7, "train.shuffle": False, "data.format": "text", "data.template": "plain",
    "data.loss_on": "all", "run.threads": 2,
}


def rows(count: int, seed: int = 11, words=(3, 12)) -> list[str]:
    """Distinct texts of distinct lengths, so that padding, averaging and order all matter."""
    draw = random.Random(seed)
    lexicon = sorted({word for line in tiny_models.CORPUS for word in line.split()})
    return [f"{i} " + " ".join(draw.choice(lexicon) for _ in range(draw.randint(*words))) for i in range(count)]


def write_rows(file: Path, texts: list[str]) -> Path:
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return file


def token_ids(texts: list[str], tokenizer) -> list[list[int]]:
    """`template: plain` adds nothing but the end token."""
    return [tokenizer(text, add_special_tokens=False).input_ids + [tokenizer.eos_token_id] for text in texts]


def train_here(model: Path, data: Path, run: Path, changes: dict | None = None, *extra, **options) -> list[dict]:
    """Steps of metrics.jsonl."""
    program.succeed("train", "--model", model, "--data", data, "--out", run, *extra, *program.settings({**PLAIN, **(changes or {})}),
                    **options)
    return program.training_steps(run)


@dataclass
class Recipe:
    """What the reference loop needs to know; the defaults are those of PLAIN."""

    learning_rate: float = 0.003
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    schedule: str = "constant"
    warmup_steps: int = 0
    total_steps: int = 20
    lora_plus_ratio: float = 1.0
    lora_b_names: tuple = ("lora_B",)


@dataclass
class Curve:
    losses: list = field(default_factory=list)
    learning_rates: list = field(default_factory=list)
    gradient_norms: list = field(default_factory=list)


def learnt(row) -> tuple[list[int], list[bool]]:
    """A row is an id list, every id of which is to be predicted but the first, or (ids, which of them are to be predicted)."""
    ids, learn = row if isinstance(row, tuple) else (row, [True] * len(row))
    return ids, [False] + learn[1:]


def target_count(batch: list) -> int:
    return sum(sum(learnt(row)[1]) for row in batch)


def loss_sum(model, batch: list):
    """Summed cross entropy over the targets of a right-padded batch."""
    width = max(len(learnt(row)[0]) for row in batch)
    padded = lambda values, filler: torch.tensor([list(v) + [filler] * (width - len(v)) for v in values])  # noqa: E731
    ids = padded([learnt(row)[0] for row in batch], 0)
    mask = padded([[1] * len(learnt(row)[0]) for row in batch], 0)
    labels = ids.masked_fill(padded([learnt(row)[1] for row in batch], False) == 0, -100)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, -width:-1].float()  # virtual tokens may stand before
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum")


def schedule_of(recipe: Recipe, optimizer):
    from transformers import get_scheduler

    names = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
    return get_scheduler(names[recipe.schedule], optimizer, num_warmup_steps=recipe.warmup_steps, num_training_steps=recipe.total_steps)


def train_in_peft(model, steps: list, recipe: Recipe) -> Curve:
    """steps[step][micro step][row], rows as in learnt(). The loss of a step is the mean over all its targets. torch's own AdamW and clipping,
    transformers' own schedules."""
    model.train()
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    raised = [p for name, p in named if any(part in name for part in recipe.lora_b_names)]
    plain = [p for name, p in named if not any(part in name for part in recipe.lora_b_names)]
    groups = [{"params": plain, "lr": recipe.learning_rate}, {"params": raised, "lr": recipe.learning_rate * recipe.lora_plus_ratio}]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], weight_decay=recipe.weight_decay)
    schedule, curve = schedule_of(recipe, optimizer), Curve()
    for step in steps:
        targets, total = sum(map(target_count, step)), 0.0
        for batch in step:
            loss = loss_sum(model, batch)
            (loss / targets).backward()
            total += float(loss.detach())
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in named], recipe.clip_norm if recipe.clip_norm > 0 else math.inf)
        curve.gradient_norms.append(float(norm))
        curve.losses.append(total / targets)
        curve.learning_rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return curve


def cut(ids: list, steps: int, accumulation: int, batch_size: int) -> list:
    """Rows in file order: batch by batch, micro step by micro step."""
    taken = iter(ids)
    return [[[next(taken) for _ in range(batch_size)] for _ in range(accumulation)] for _ in range(steps)]
