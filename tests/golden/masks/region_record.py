"""Writes tests/golden/masks/region_{fsfm,sma,ropim}.npz with the official code of three methods.

  git clone https://github.com/wolo-wolo/FSFM-CVPR25     # 986aaab6d505911f73042ee91cc49c8621354c05
  git clone https://github.com/Johnathan-Xie/sma         # bdc18778c675bf850079b6bf45c167c470329442
  git clone https://github.com/csiro-robotics/ROPIM      # 81eb7abbf88ca4e7ab9499cf5bc02b502997e1f6
  python tests/golden/masks/region_record.py FSFM-CVPR25/fsfm-3c/util/datasets.py \
      sma/src/transformers/models/sma/transforms_sma.py ROPIM/data/data_ropim.py

The files run whole on the CPU; torchvision and timm, which the masks do not use, are stood in for.
"""

from __future__ import annotations

import random
import runpy
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch

HERE = Path(__file__).parent
SIZE, PATCH = 112, 8
UNUSED = ("torchvision", "torchvision.datasets", "torchvision.transforms")
UNUSED += ("timm", "timm.data", "timm.data.constants")
# Face parts as (label, row, column, half height, half width) from the middle of the picture.
PARTS = (
    *((10, -12, 0, 40, 34), (1, 0, 0, 40, 28), (2, -16, -11, 2.5, 7), (3, -16, 11, 2.5, 7)),
    *((4, -9, -11, 3, 5), (5, -9, 11, 3, 5), (6, 4, 0, 9, 4), (7, 20, 0, 2, 9)),
    *((8, 22, 0, 1.2, 8), (9, 24, 0, 2, 9)),
)


def face(down: float, right: float, scale: float) -> np.ndarray:
    """A label map u8[SIZE, SIZE] of ellipses."""
    rows, columns = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    labels = np.zeros((SIZE, SIZE), np.uint8)
    for label, row, column, height, width in PARTS:
        off = (rows - down) / scale - row, (columns - right) / scale - column
        labels[(off[0] / height) ** 2 + (off[1] / width) ** 2 < 1] = label
    return labels


def fsfm(official: dict) -> dict[str, np.ndarray]:
    """Covered tokens of each candidate, and one mask of 75 % for each; packed bits."""
    maps = np.stack([face(0, 0, 1), face(5, -6, 0.8), face(-3, 7, 1.3), face(0, 0, 1)])
    # The last one is nearly all hair: more than the budget.
    maps[3, :100] = 10
    parsing = torch.from_numpy(maps).long()
    masking = official["collate_fn_crfrp"](input_size=SIZE, patch_size=PATCH, mask_ratio=0.75)
    covered, hidden = [], []
    torch.manual_seed(0)
    for group in masking.facial_region_group[:-2]:
        with mock.patch("random.choice", return_value=group):
            cover = masking.masking_all_patches_in_random_specific_facial_region
            grid = SIZE // PATCH
            covered.append(cover(parsing, torch.zeros(len(maps), grid, grid))[0].bool().numpy())
            samples = [{"image": torch.zeros(1), "parsing_map": each[None]} for each in parsing]
            hidden.append(masking(samples)["img_mask"].bool().numpy())
    packed = {"covered": np.packbits(covered, axis=-1), "hidden": np.packbits(hidden, axis=-1)}
    return {"maps": maps, **packed}


def sma(official: dict) -> dict[str, np.ndarray]:
    """Chosen queries and hidden tokens without noise, and in the middle of the warm-in."""
    torch.manual_seed(1)
    count, length, ratio, per_query = 4, 60, 0.3, 4.5
    logits = 2 * torch.randn(count, 3, 10, length)
    found = {"attention": logits.softmax(-1).mean(1).numpy()}
    for name, scale in (("late", 0.0), ("warm", 0.4)):
        masking = official["RandomlySelectedCrossAttentionMasking"](
            masking_ratio=ratio,
            num_per_query=per_query,
            varying_length=False,
            select_initial_ratio=1.0,
        )
        masking.set_noise_scale(scale)
        drawn, permute = [], torch.randperm

        def kept(size: int, drawn=drawn, permute=permute, **_) -> torch.Tensor:
            drawn.append(permute(size))
            return drawn[-1]

        with mock.patch("torch.randperm", kept):
            attention_mask = torch.ones(count, length)
            masking(attentions=logits, inputs=None, attention_mask=attention_mask)
        queries = round(length * ratio / per_query)
        found[f"{name}_queries"] = np.stack([order[:queries] for order in drawn[:count]])
        found[f"{name}_hidden"] = (attention_mask == 0).numpy()
        if scale:
            found["warm_permutations"] = np.stack(drawn[count:])
    return found


def ropim(official: dict) -> dict[str, np.ndarray]:
    """Buckets, signs and the operator of 196 tokens."""
    torch.manual_seed(2)
    random.seed(2)
    generator = official["SketchGenerator"](196, -1)
    create, sketches = generator.create_sketch_mat, []

    def kept(*arguments) -> torch.Tensor:
        sketches.append(create(*arguments))
        return sketches[-1]

    generator.create_sketch_mat = kept
    operator = generator().numpy()
    sketch = sketches[0].numpy().astype(np.int8)
    return {"buckets": np.abs(sketch).argmax(1), "signs": sketch.sum(1), "operator": operator}


def main(*paths: str) -> None:
    """Records all three."""
    with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in UNUSED}):
        for record, path in zip((fsfm, sma, ropim), paths, strict=True):
            golden = HERE / f"region_{record.__name__}.npz"
            np.savez_compressed(golden, **record(runpy.run_path(path)))
            print(f"{golden.name}: {golden.stat().st_size / 1e3:.1f} kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
