"""Adapters made by Hugging Face PEFT with values that matter: B is not zero, saved modules differ from the base."""

from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file

import tiny_models


def randomise(model, seed: int, strength: float = 0.3) -> None:
    """Moves every trainable value. PEFT starts with B = 0, which would make any reader look right."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator)
                if "lora_" in name:
                    parameter.copy_(strength * noise / parameter.shape[-1] ** 0.5)
                else:
                    parameter.add_(0.5 * strength * noise)


def make(base: Path, config, folder: Path, seed: int = 2, initial: bool = False):
    """Saves an adapter for the model folder `base`; `initial` keeps PEFT's own start (A random, B zero). Returns the PEFT model."""
    torch.manual_seed(seed)
    model = get_peft_model(tiny_models.load(base), config)
    if not initial:
        randomise(model, seed)
    model.save_pretrained(folder)
    return model.eval()


def load(base: Path, folder: Path, trainable: bool = False):
    config = PeftConfig.from_pretrained(folder)
    if trainable and config.is_prompt_learning:  # PEFT loads these for inference only
        config.inference_mode = False
        model = get_peft_model(tiny_models.load(base), config)
        set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))
        return model.eval()
    return PeftModel.from_pretrained(tiny_models.load(base), folder, is_trainable=trainable).eval()
