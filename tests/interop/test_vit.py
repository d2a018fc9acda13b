"""ViT and DINOv2 folders: transformers' features and logits, on random models of the real shapes and on a trained one's golden values."""

import json
import os
import pathlib
import subprocess

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Dinov2Config, Dinov2ForImageClassification, Dinov2Model, ViTConfig, ViTForImageClassification, ViTModel

import adapters
import program

CLOUD_CLIP = program.AGRI_TUNE.parent / "cloud_clip"
TOLERANCE = 1e-4  # the bound

BASE = dict(hidden_size=768, num_attention_heads=12, num_hidden_layers=2)
# name: (model, its configuration, sides of the images)
MODELS = {
    "vit": (ViTModel, ViTConfig(intermediate_size=3072, **BASE), (224, 224)),
    "vit-classifier": (ViTForImageClassification, ViTConfig(intermediate_size=3072, num_labels=7, **BASE), (224, 224)),
    "dinov2": (Dinov2Model, Dinov2Config(image_size=518, **BASE), (518, 518)),
    "dinov2-small-images": (Dinov2Model, Dinov2Config(image_size=518, **BASE), (224, 224)),
    "dinov2-classifier": (Dinov2ForImageClassification, Dinov2Config(image_size=518, num_labels=7, **BASE), (238, 224)),
}


def ours(folder, images, tmp_path):
    save_file({"images": images}, tmp_path / "in.safetensors")
    done = subprocess.run([str(CLOUD_CLIP), "inspect", "--model", str(folder), "--logits", str(tmp_path / "in.safetensors"), "--out",
                           str(tmp_path / "out.safetensors")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return load_file(tmp_path / "out.safetensors")


@pytest.mark.parametrize("name", MODELS)
def test_features_and_logits(name, tmp_path):
    kind, config, sides = MODELS[name]
    torch.manual_seed(3)
    model = kind(config).eval()
    adapters.randomise(model, 5, strength=0.02)  # biases, norms and layer scales that do something
    model.save_pretrained(tmp_path / "model")
    images = torch.rand((2, 3, *sides), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs = model(pixel_values=images, output_hidden_states=True)
    found = ours(tmp_path / "model", images, tmp_path)
    if hasattr(theirs, "logits"):
        assert (found["logits"] - theirs.logits).abs().max() < TOLERANCE * max(1.0, theirs.logits.abs().max().item())
    else:
        assert (found["image_features"] - theirs.last_hidden_state[:, 0]).abs().max() < TOLERANCE * max(1.0, theirs.last_hidden_state.abs().max().item())


def test_golden_values_of_a_trained_vit(tmp_path):
    folder = pathlib.Path(os.environ.get("GRAFT_SHARED", pathlib.Path(__file__).parents[3] / "shared")) / "weights" / "vit-cifar10"
    if not folder.exists():
        pytest.skip(f"{folder} is not here")
    inputs = {one["name"]: one for one in json.loads((folder / "golden.json").read_text())["inputs"]}
    ramp = torch.arange(3 * 32 * 32, dtype=torch.float32).reshape(1, 3, 32, 32)
    images = {"zeros": torch.zeros((1, 3, 32, 32)), "ramp": ramp / 1024 - 1.5}
    for name, image in images.items():
        logits = ours(folder, image, tmp_path)["logits"][0]
        assert (logits - torch.tensor(inputs[name]["logits"])).abs().max() < TOLERANCE, name


def test_another_model_is_refused_in_words(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "swin"}))
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    done = subprocess.run([str(CLOUD_CLIP), "inspect", "--model", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2 and "vit or dinov2" in done.stderr
