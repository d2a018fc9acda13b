"""PEFT's side: one fresh process, the plain loop that PEFT's documentation shows. Tells the driver of each step on stdout."""

import argparse
import json
import sys


def tell(event: str, **values) -> None:
    sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
    sys.stdout.flush()


def load(arguments, options):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = getattr(torch, options["dtype"])
    extra = {}
    if options.get("nf4"):
        extra["quantization_config"] = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                                          bnb_4bit_compute_dtype=dtype)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=dtype, **extra)
    model.config.use_cache = False
    model = PeftModel.from_pretrained(model, arguments.start, is_trainable=True)
    model.train()
    return torch.compile(model) if options.get("compile") else model


def collate(batch):
    """Right padding to the longest row; labels of padding are ignored. A batch without padding needs no mask."""
    import torch

    width = max(map(len, batch))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in batch])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in batch])
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("model", "start", "ids", "options"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    model = load(arguments, json.loads(arguments.options))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=arguments.learning_rate, weight_decay=0.0)
    batches = json.load(open(arguments.ids))
    tell("loaded", torch=torch.__version__, trainable=sum(p.numel() for p in model.parameters() if p.requires_grad))
    for step, batch in enumerate(batches, 1):
        tell("begin", step=step)
        loss = model(**collate(batch)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        tell("step", step=step, loss=float(loss.detach()))


if __name__ == "__main__":
    main()
