#!/usr/bin/env python3
"""Depth views here and as the same steps written with PyTorch's operators: alternating rounds, medians, ratio and its spread.

usage: compare_torch.py [--bench build/release/bin/depth_views_bench] [--clouds 32] [--points 2048] [--side 224] [--rounds 7]
"""

import argparse
import math
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy
import torch
import torch.nn.functional as functional

GRID, SLICES, IMAGE = 112, 8, 110


def gaussian():
    edge = math.exp(-1 / 18)  # sigma 3
    taps = torch.tensor([edge, 1, edge]) / (1 + 2 * edge)
    return (taps[:, None] * taps[None]).view(1, 1, 3, 3)


@torch.inference_mode()
def draw(clouds, views, kernel, side):
    """(B, N, 3), (V, 3, 3) -> (B * V, 1, side, side): the steps of the card, each over the whole batch."""
    count = clouds.shape[0] * views.shape[0]
    turned = torch.einsum("vij,bnj->bvni", views, clouds).reshape(count, -1, 3)
    low, high = turned.amin(1, True), turned.amax(1, True)
    placed = (turned - (low + high) / 2) * 2 / (high - low).amax(-1, True)
    depth = (6 * ((placed[..., 2] + 1) / 2 + 0.2) / 1.2).clamp(1, 6)
    cell = torch.ceil(GRID / 2 * (placed[..., :2] * 0.8 + 1)).clamp(1, GRID - 2).long()
    place = (depth.ceil().long() * GRID + cell[..., 0]) * GRID + cell[..., 1]
    grid = torch.zeros(count, SLICES * GRID * GRID).scatter_reduce_(1, place, depth, "amax").view(count * SLICES, 1, GRID, GRID)
    pooled = functional.max_pool2d(functional.pad(grid, (2, 2, 2, 2)), 7, 1)
    smooth = functional.conv2d(pooled, kernel, padding=1).view(count, SLICES, IMAGE, IMAGE).amax(1)
    picture = 1 - smooth / smooth.amax((1, 2), True)
    return functional.interpolate(picture[:, None], (side, side), mode="bilinear", align_corners=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).parents[2]
    parser.add_argument("--bench", default=root / "build/release/bin/depth_views_bench")
    for name, value in (("clouds", 32), ("points", 2048), ("side", 224), ("rounds", 7), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    clouds = torch.randn((wanted.clouds, wanted.points, 3), generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        files = [str(pathlib.Path(folder) / name) for name in ("clouds", "pictures", "views")]
        clouds.numpy().tofile(files[0])
        command = [str(wanted.bench), *map(str, (wanted.clouds, wanted.points, wanted.side)), *files]

        def ours():
            environment = {**os.environ, "OMP_NUM_THREADS": str(wanted.threads)}
            return float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)

        ours()
        views, kernel = torch.from_numpy(numpy.fromfile(files[2], numpy.float32)).view(-1, 3, 3), gaussian()

        def theirs():
            begin = time.perf_counter()
            pictures = draw(clouds, views, kernel, wanted.side)
            return (time.perf_counter() - begin) * 1e3, pictures

        theirs()
        rounds = []
        for _ in range(wanted.rounds):
            milliseconds, pictures = theirs()
            rounds.append((ours(), milliseconds))
        mine = torch.from_numpy(numpy.fromfile(files[1], numpy.float32)).view_as(pictures)
    differing = ((mine - pictures).abs() > 1e-4).float().mean().item()
    ratios = [b / a for a, b in rounds]
    written = pictures.numel() * 4 / 1e9 / (statistics.median(a for a, _ in rounds) / 1e3)
    print("| clouds x points | side | ours, ms | PyTorch, ms | ratio | pictures written, GB/s | pixels that differ by 1e-4 |\n|---|---|---|---|---|---|---|")
    print(f"| {wanted.clouds} x {wanted.points} | {wanted.side} | {statistics.median(a for a, _ in rounds):.2f} | "
          f"{statistics.median(b for _, b in rounds):.0f} | **{statistics.median(ratios):.0f}** ({min(ratios):.0f}–{max(ratios):.0f}) | "
          f"{written:.1f} | {100 * differing:.4f} % |")


if __name__ == "__main__":
    main()
