"""Writes values.npz beside it with the official HOG of pictures and targets of patches.

  git clone https://github.com/facebookresearch/SlowFast  # 287ec0076846560f44a9327e931a5a2360240533
  python -m tests.golden.maskfeat_hog.record SlowFast

HOGLayerC and the function that cuts its output into patches, _get_hog_label_2d, are taken out of
their files and run on the CPU as MaskMViT calls them, with every patch predicted. The pictures are
stored as float16, so that sums of a few pixels are exact in float32, in any order; a quarter of one
picture is flat, another quarter changes downwards only.
"""

from __future__ import annotations

import ast
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

GOLDEN = Path(__file__).with_name("values.npz")
EXAMPLES, SIZE, PATCH = 3, 32, 16


def taken(path: Path, name: str):
    """The class or function of the official file, without the rest of it."""
    nodes = ast.walk(ast.parse(path.read_text()))
    found = [node for node in nodes if getattr(node, "name", None) == name]
    scope = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "math": math}
    exec(compile(ast.Module(found, []), str(path), "exec"), scope)
    return scope[name]


def pictures() -> np.ndarray:
    """f16[EXAMPLES, SIZE, SIZE, 3]."""
    images = np.random.default_rng(0).normal(size=(EXAMPLES, SIZE, SIZE, 3))
    images[0, :PATCH, :PATCH] = 0.5
    images[0, PATCH:, :PATCH] = images[0, PATCH:, :1]
    return images.astype(np.float16)


def main(folder: str) -> None:
    """Records the pictures, the histograms [B, C, bins, h, w] and the targets [B, N, V]."""
    models = Path(folder, "slowfast/models")
    layer = taken(models / "operators.py", "HOGLayerC")(nbins=9, pool=8)
    images = pictures()
    given = torch.from_numpy(images).float().permute(0, 3, 1, 2)
    side = SIZE // PATCH
    model = SimpleNamespace(
        pretrain_depth=[0], feat_size=[[side, side]], hogs=[layer], pred_hog_wt=1, hog_loss="mse"
    )
    every = torch.ones(EXAMPLES, side**2, dtype=torch.bool)
    labels = taken(models / "masked.py", "_get_hog_label_2d")(model, given, [every])
    targets = labels[0][0].reshape(EXAMPLES, side**2, -1).numpy()
    np.savez_compressed(GOLDEN, images=images, histograms=layer(given).numpy(), targets=targets)
    print(targets.shape, GOLDEN.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1])
