"""MAE's input pipeline in torch and Pillow: the peer in benchmarks.input_pipeline."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
SCALE, RATIO = (0.2, 1.0), (3 / 4, 4 / 3)


def crop_of(width: int, height: int) -> tuple[int, int, int, int]:
    """Return a random box (left, top, right, bottom) by RandomResizedCrop's rule."""
    for _ in range(10):
        area = width * height * random.uniform(*SCALE)
        aspect = math.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return left, top, left + w, top + h
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


class Photographs(Dataset):
    """Files decoded, cropped, resized with bicubic interpolation and flipped by Pillow.

    floats: return normalised f32[3, H, W], as recipes do, else u8[H, W, 3].
    """

    def __init__(self, paths: Sequence[Path], size: int, floats: bool):
        self.paths, self.size, self.floats = paths, size, floats

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as file:
            image = file.convert("RGB")
        image = image.crop(crop_of(*image.size))
        image = image.resize((self.size, self.size), Image.Resampling.BICUBIC)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image))
        if not self.floats:
            return pixels
        scaled = pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        return scaled.sub_(MEAN).div_(STD)


def batches(
    paths: Sequence[Path], *, size: int, batch: int, workers: int, floats: bool
) -> Iterator[torch.Tensor]:
    """Yield endless shuffled batches from a DataLoader."""
    torch.set_num_threads(1)
    loader = DataLoader(
        Photographs(paths, size, floats),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    while True:
        yield from loader
