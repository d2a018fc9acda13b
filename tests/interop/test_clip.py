"""CLIP folders: cloud_clip gives transformers' features and logits; adapters on CLIP cross to Hugging Face PEFT and back."""

import subprocess

import numpy
import pytest
import torch
from PIL import Image
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPProcessor

import adapters
import program

CLOUD_CLIP = program.AGRI_TUNE.parent / "cloud_clip"
TOLERANCE = 1e-4  # the bound
END = 63

# The real shapes' widths, patches and heads, with fewer layers and a small vocabulary: the arithmetic of a layer does not depend on their number.
SHAPES = {
    "vit-b-32": dict(patch_size=32, vision=(768, 3072, 12), text=(512, 2048, 8), projection=512, act="quick_gelu"),
    "vit-b-16": dict(patch_size=16, vision=(768, 3072, 12), text=(512, 2048, 8), projection=512, act="quick_gelu"),
    "vit-l-14": dict(patch_size=14, vision=(1024, 4096, 16), text=(768, 3072, 12), projection=768, act="quick_gelu"),
    "gelu": dict(patch_size=32, vision=(64, 96, 2), text=(48, 80, 3), projection=40, act="gelu"),
}


def build(name: str, folder):
    shape = SHAPES[name]

    def tower(sizes, **more):
        width, inner, heads = sizes
        return dict(hidden_size=width, intermediate_size=inner, num_attention_heads=heads, num_hidden_layers=2, hidden_act=shape["act"], **more)

    text = tower(shape["text"], vocab_size=END + 1, max_position_embeddings=20, eos_token_id=END, bos_token_id=END - 1, pad_token_id=END)
    vision = tower(shape["vision"], image_size=224, patch_size=shape["patch_size"])
    torch.manual_seed(3)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=shape["projection"])).eval()
    adapters.randomise(model, 5, strength=0.02)  # biases and norms that do something
    model.save_pretrained(folder)
    return model


def samples():
    draw = torch.Generator().manual_seed(1)
    texts = [[END - 1, *torch.randint(0, END - 1, (n,), generator=draw).tolist(), END] for n in (1, 5, 18)]
    return torch.rand((3, 3, 224, 224), generator=draw), texts


def theirs(model):
    images, texts = samples()
    width = max(map(len, texts))
    ids = torch.tensor([t + [END] * (width - len(t)) for t in texts])
    mask = torch.tensor([[1] * len(t) + [0] * (width - len(t)) for t in texts])
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask, pixel_values=images).logits_per_image


def ours(folder, tmp_path, *extra):
    images, texts = samples()
    save_file({"images": images, **{f"ids.{i}": torch.tensor(t, dtype=torch.int32) for i, t in enumerate(texts)}}, tmp_path / "in.safetensors")
    done = subprocess.run([str(CLOUD_CLIP), "inspect", "--model", str(folder), "--logits", str(tmp_path / "in.safetensors"), "--out",
                           str(tmp_path / "out.safetensors"), *map(str, extra)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return load_file(tmp_path / "out.safetensors")["logits"]


@pytest.mark.parametrize("name", SHAPES)
def test_logits(name, tmp_path):
    expected = theirs(build(name, tmp_path / "model"))
    actual = ours(tmp_path / "model", tmp_path)
    assert expected.std() > 1e-2
    assert (actual - expected).abs().max() < TOLERANCE * max(1.0, float(expected.abs().max()))


TARGETS = {
    "everywhere": "all-linear",
    "attention": ["q_proj", "v_proj", "out_proj"],
    "vision-mlp": r"vision_model\..*(fc1|fc2)",
}


@pytest.mark.parametrize("name", TARGETS)
def test_lora_made_by_peft(name, tmp_path):
    base = build("gelu", tmp_path / "model")
    before = theirs(base)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS[name]))
    adapters.randomise(model, 7)
    model.save_pretrained(tmp_path / "adapter")
    expected = theirs(PeftModel.from_pretrained(CLIPModel.from_pretrained(tmp_path / "model"), tmp_path / "adapter").eval())
    assert (expected - before).abs().max() > 0.01
    assert (ours(tmp_path / "model", tmp_path, "--adapter", tmp_path / "adapter") - expected).abs().max() < TOLERANCE * float(expected.abs().max())


def test_what_pretrain_writes_is_a_clip_of_transformers(tmp_path):
    done = subprocess.run([str(CLOUD_CLIP), "pretrain", "--out", str(tmp_path / "model"), "--quiet", "--set", "train.max_steps=2", "train.batch_size=4",
                           "train.held_out=1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    model = CLIPModel.from_pretrained(tmp_path / "model").eval()
    processor = CLIPProcessor.from_pretrained(tmp_path / "model", use_fast=False)
    side = model.config.vision_config.image_size
    pictures = [numpy.random.default_rng(i).integers(0, 256, (side, side, 3), dtype=numpy.uint8) for i in range(3)]
    words = ["point cloud depth map of a car.", "a tree", "point cloud depth map of a night stand."]
    given = processor(text=words, images=[Image.fromarray(p) for p in pictures], return_tensors="pt", padding=True)
    # A picture of the right size goes through as it is, scaled to [0, 1].
    assert (given["pixel_values"] - torch.tensor(numpy.stack(pictures)).permute(0, 3, 1, 2) / 255).abs().max() < 1e-6
    with torch.no_grad():
        expected = model(**given).logits_per_image
    ids = [row[mask.bool()].to(torch.int32) for row, mask in zip(given["input_ids"], given["attention_mask"])]
    save_file({"images": given["pixel_values"].contiguous(), **{f"ids.{i}": row for i, row in enumerate(ids)}}, tmp_path / "in.safetensors")
    done = subprocess.run([str(CLOUD_CLIP), "inspect", "--model", str(tmp_path / "model"), "--logits", str(tmp_path / "in.safetensors"), "--out",
                           str(tmp_path / "out.safetensors")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = load_file(tmp_path / "out.safetensors")["logits"]
    assert (found - expected).abs().max() < TOLERANCE * max(1.0, expected.abs().max().item())
