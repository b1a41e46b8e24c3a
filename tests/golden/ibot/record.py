"""Writes tests/golden/ibot/values.npz with the official iBOT, run once on AttMask's tiny case.

  git clone https://github.com/bytedance/ibot   # da316d82636a7a7356835ef224b13d5f3ace0489
  python -m tests.golden.ibot.record ibot

One step of main_ibot.py on a CPU in float32 with the weights, crops and centres of
tests/golden/attmask/case.py and masks by ImageFolderMask of loader.py: the teacher on large crops,
the student on masked large and whole small ones, iBOTLoss with its centres, and gradients, one
after another in the order of the case's layout. Then DRAWS masks of 14 x 14 tokens by the README's
recipe: how many tokens each hides, and how often each token is hidden. The scripts' own imports are
left out, see tests/golden/attmask/official.py; ImageFolder stands for a source of blank crops.
"""

from __future__ import annotations

import random
import sys
import types
from pathlib import Path

import numpy as np
import torch

from tests.golden.attmask import case
from tests.golden.attmask.official import (
    by_view,
    class_of,
    masked_step,
    modules,
    network,
    stand_in_for_timm,
)

GOLDEN = Path(__file__).with_name("values.npz")
RECIPE = {
    "pred_ratio": [0.0, 0.3],
    "pred_ratio_var": [0.0, 0.2],
    "pred_aspect_ratio": (0.3, 1 / 0.3),
}
DRAWS = 4000


class BlankCrops:
    """torchvision's ImageFolder without files: blank crops of a size."""

    side = case.IMAGE

    def __init__(self) -> None:
        pass

    def __getitem__(self, index: int):
        return [torch.zeros(3, self.side, self.side)] * case.VIEWS, 0


def official(folder: str) -> dict:
    """The modules of the repository by name."""
    stand_in_for_timm()
    datasets = types.ModuleType("torchvision.datasets")
    datasets.ImageFolder = BlankCrops
    package = types.ModuleType("models")  # its __init__ imports Swin, which needs all of timm
    package.__path__ = [str(Path(folder) / "models")]
    torchvision = types.ModuleType("torchvision")
    stands = {"torchvision": torchvision, "torchvision.datasets": datasets, "models": package}
    sys.modules.update(stands)
    sys.path.insert(0, folder)
    return modules(("loader", "utils", "models.vision_transformer", "models.head"))


def masks_of(loader, side: int, patch: int, draws: int) -> np.ndarray:
    """Masks bool[draws, V, rows, columns] of crops of a size."""
    BlankCrops.side = side
    source = loader.ImageFolderMask(patch_size=patch, **RECIPE)
    return np.stack([np.stack(source[0][-1]) for _ in range(draws)])


def main(folder: str) -> None:
    """Runs one step, draws masks, and stores what comes out."""
    parts = official(folder)
    student, teacher = network(parts, "student"), network(parts, "teacher")
    random.seed(2)
    hidden = masks_of(parts["loader"], case.IMAGE, case.PATCH, case.EXAMPLES)
    masks = [torch.from_numpy(hidden[:, view]) for view in range(case.VIEWS)]
    with torch.no_grad():
        output = teacher(by_view(case.crops()[0]))
    loss_class = class_of(Path(folder) / "main_ibot.py", "iBOTLoss")
    found = masked_step(loss_class, student, output, masks)
    random.seed(3)
    drawn = masks_of(parts["loader"], 224, 16, DRAWS // case.VIEWS).reshape(DRAWS, 14, 14)
    np.savez_compressed(
        GOLDEN,
        hidden=hidden.reshape(case.EXAMPLES, case.VIEWS, -1),
        **found,
        counts=drawn.sum((1, 2)).astype(np.uint8),
        frequency=drawn.mean(0).astype(np.float32),
    )
    print(hidden.sum((2, 3)), GOLDEN.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1])
