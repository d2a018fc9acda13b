"""AdaLoRA's ranks over a whole schedule: the same as PEFT's, step by step, and the same bits after a kill."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from peft import AdaLoraConfig
from safetensors.torch import load_file

import adapters
import program
import tiny_models
import training

STEPS = 40
SCHEDULE = dict(init_r=6, target_r=3, tinit=6, tfinal=12, deltaT=3, beta1=0.8, beta2=0.7, orth_reg_weight=0.3)
TARGETS = ["q_proj", "v_proj", "down_proj"]


@pytest.fixture(scope="module")
def base(folder):
    return tiny_models.save(tiny_models.build("llama3"), folder / "adalora-base", tiny_models.byte_tokenizer())


def train_in_peft(model, steps: list, clip_norm: float) -> list[float]:
    """PEFT's documented order: backward, optimizer step, update_and_allocate, zero_grad; steps count from 1."""
    model.train()
    leaves = [p for p in model.parameters() if p.requires_grad]
    optimizer, losses = torch.optim.AdamW(leaves, lr=0.01, weight_decay=0), []
    for number, batch in enumerate(steps, 1):
        targets = sum(training.target_count(part) for part in batch)
        total = 0.0
        for part in batch:
            loss = training.loss_sum(model, part)
            (loss / targets).backward()
            total += float(loss.detach())
        # The same term as in AdaLoraModel.forward, which adds it only to a loss that transformers computed.
        deviations = []
        for name, p in model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                square = p @ p.T if "lora_A" in name else p.T @ p
                deviations.append(torch.norm(square - torch.eye(len(square))))
        (SCHEDULE["orth_reg_weight"] * sum(deviations) / len(deviations)).backward()
        torch.nn.utils.clip_grad_norm_(leaves, clip_norm or float("inf"))
        optimizer.step()
        model.base_model.update_and_allocate(number)
        optimizer.zero_grad()
        losses.append(total / targets)
    return losses


@pytest.mark.parametrize(("accumulation", "clip_norm"), [(1, 0), (2, 0), (1, 0.5)])
def test_ranks_and_losses_are_those_of_peft(accumulation, clip_norm, base, tmp_path):
    """With clipping only until the ranks are settled: after that PEFT's norm still counts gradients of triplets that have fallen out."""
    config = AdaLoraConfig(total_step=STEPS, target_modules=TARGETS, **SCHEDULE)
    adapters.make(base, config, tmp_path / "start", initial=True)
    texts = training.rows(2 * accumulation * STEPS)
    data = training.write_rows(tmp_path / "rows.jsonl", texts)
    ours = training.train_here(base, data, tmp_path / "run", {"train.max_steps": STEPS, "train.learning_rate": 0.01, "train.clip_norm": clip_norm,
                                                              "train.accumulation": accumulation}, "--init-adapter", tmp_path / "start")
    model = adapters.load(base, tmp_path / "start", trainable=True)
    ids = training.token_ids(texts, tiny_models.byte_tokenizer())
    losses = train_in_peft(model, training.cut(ids, STEPS, accumulation, 2), clip_norm)
    settled = STEPS - SCHEDULE["tfinal"]
    for step, (mine, theirs) in enumerate(list(zip(ours, losses, strict=True))[: settled + 1 if clip_norm else STEPS], 1):
        assert abs(mine["loss"] - theirs) < 1e-3, f"step {step}: {mine['loss']} here, {theirs} in PEFT"
    mine = json.loads((tmp_path / "run" / "adapter_config.json").read_text())["rank_pattern"]
    theirs = {name.replace(".default", ""): left for name, left in model.peft_config["default"].rank_pattern.items()}
    assert mine == theirs
    assert sum(map(sum, mine.values())) == 3 * len(mine) and len({sum(left) for left in mine.values()}) > 1, "ranks did not move"
    if clip_norm:
        return
    ids = tiny_models.random_ids([1, 7, 40], seed=9)
    for a, b in zip(program.logits(base, ids, tmp_path, "--adapter", tmp_path / "run"), tiny_models.logits_of(model.eval(), ids), strict=True):
        assert np.abs(a - b).max() < 1e-2  # after 40 steps of their own; from one file it is 1e-4


def test_settled_ranks_in_a_file_of_peft(base, tmp_path):
    """One layer lost all its triplets, others some."""
    left = {f"model.layers.{layer}.self_attn.{name}.lora_E": [layer > 0 and (i + layer) % 3 > 0 for i in range(6)]
            for layer in range(3) for name in ("q_proj", "v_proj")}
    config = AdaLoraConfig(init_r=6, target_r=3, total_step=9, target_modules=["q_proj", "v_proj"], rank_pattern=left)
    adapters.make(base, config, tmp_path / "a")
    ids = tiny_models.random_ids([1, 7, 40], seed=9)
    theirs = tiny_models.logits_of(adapters.load(base, tmp_path / "a"), ids)
    plain = tiny_models.logits_of(tiny_models.load(base), ids)
    assert max(np.abs(a - b).max() for a, b in zip(theirs, plain)) > 0.05, "the adapter changes nothing"
    for a, b in zip(program.logits(base, ids, tmp_path, "--adapter", tmp_path / "a"), theirs, strict=True):
        assert np.abs(a - b).max() < 1e-4


def run(base, data, out, *extra):
    return [str(program.AGRI_TUNE), "train", "--model", str(base), "--data", str(data), "--method", "adalora", "--out", str(out), *extra,
            *program.settings({**{k: v for k, v in training.PLAIN.items() if not k.startswith("method.")}, "train.max_steps": 300,
                               "train.batch_size": 2, "train.save_every": 1, "train.learning_rate": 0.01, "method.init_r": 6,
                               "method.target_r": 3, "method.tinit": 20, "method.tfinal": 150, "method.deltaT": 5})]


@pytest.mark.parametrize("killed_after", [60, 200])
def test_a_killed_run_goes_on_with_the_same_bits(killed_after, base, tmp_path):
    """Once while ranks are taken away, with scores half gathered, and once after they are settled."""
    data = training.write_rows(tmp_path / "rows.jsonl", training.rows(60))
    subprocess.run(run(base, data, tmp_path / "whole"), check=True, capture_output=True)
    process = subprocess.Popen(run(base, data, tmp_path / "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = tmp_path / "killed" / "metrics.jsonl"
    while process.poll() is None and not (lines.exists() and lines.read_bytes().count(b"\n") >= killed_after):
        time.sleep(0.002)
    assert process.poll() is None, "the run was over before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    reached = lines.read_bytes().count(b"\n")
    assert killed_after <= reached < (150 if killed_after < 150 else 300), "killed in another phase than meant"
    subprocess.run(run(base, data, tmp_path / "killed", "--resume"), check=True, capture_output=True)
    whole, killed = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "killed"))
    assert sorted(whole) == sorted(killed)
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
