"""Writes tests/golden/colormae_bank/values.npz with ColorMAE's own code, and counts equal cases.

  git clone https://github.com/carlosh93/ColorMAE
  python -m tests.golden.colormae_bank.record ColorMAE/models/utils/masking_generator.py

Runs the official `ColorMasking` (extract_windows, then color_noise_mask) on the cases of
tests/masks/bank_cases.py. Its three random torchvision transforms are replaced by the same
operations with given decisions, so that torchvision is not needed. Recorded from commit
f0ad557d3f37c9298b776da23002c40b9e846470.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import torch

from tests.masks.bank_cases import Case, all_cases, ours

GOLDEN = Path(__file__).with_name("values.npz")
KEPT = 40  # Cases stored; all are counted.


class Given:
    """Stands for torchvision.transforms: crops and flips by decisions taken in advance."""

    def __init__(self) -> None:
        self.turns: list[tuple[int, int, bool, bool]] = []

    def module(self) -> types.ModuleType:
        """The part of torchvision.transforms that the official file uses."""
        module = types.ModuleType("torchvision.transforms")
        module.Compose = lambda steps: lambda x: _through(steps, x)
        module.RandomCrop = lambda width: lambda x: self._crop(x, width)
        module.RandomHorizontalFlip = lambda p: lambda x: x.flip(-1) if self.now[2] else x
        module.RandomVerticalFlip = lambda p: lambda x: x.flip(-2) if self.now[3] else x
        return module

    def _crop(self, x: torch.Tensor, width: int) -> torch.Tensor:
        self.now = self.turns.pop(0)
        top, left = self.now[:2]
        return x[..., top : top + width, left : left + width]


def _through(steps: list, x: torch.Tensor) -> torch.Tensor:
    for step in steps:
        x = step(x)
    return x


def official(path: Path, given: Given) -> types.ModuleType:
    """The official file as a module, with torchvision (and pictures) replaced."""
    torchvision = types.ModuleType("torchvision")
    torchvision.transforms = given.module()
    torchvision.io = types.ModuleType("torchvision.io")
    stand_ins = {"torchvision": torchvision, "matplotlib": types.ModuleType("matplotlib")}
    stand_ins["matplotlib.pyplot"] = types.ModuleType("matplotlib.pyplot")
    sys.modules.update(stand_ins)
    spec = importlib.util.spec_from_file_location("masking_generator", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_official(module: types.ModuleType, given: Given, case: Case) -> tuple[np.ndarray, ...]:
    """(windows, mask, ids_keep) of the official code for a case."""
    masking = module.ColorMasking.__new__(module.ColorMasking)
    masking.change_color_pattern = lambda path: None
    masking.__init__(case.width, case.ratio, "")
    masking.image_tensor, masking.device = torch.from_numpy(case.bank), torch.device("cpu")
    given.turns = list(case.turns)
    windows = masking.extract_windows(case.batch)
    mask, _, keep = masking.color_noise_mask(windows)
    if given.turns:
        raise AssertionError(f"{len(given.turns)} decisions were left over")
    return windows.numpy(), mask.numpy(), keep.numpy()


def main(path: str) -> None:
    """Counts equal cases and stores the first."""
    given = Given()
    module = official(Path(path), given)
    stored: dict[str, np.ndarray] = {}
    equal = dict.fromkeys(("windows", "mask", "ids_keep"), 0)
    negative = total = 0
    for number, case in enumerate(all_cases()):
        windows, mask, keep = run_official(module, given, case)
        found = ours(case)
        equal["windows"] += np.array_equal(found[0], windows)
        equal["mask"] += np.array_equal(found[1], mask.astype(bool))
        equal["ids_keep"] += np.array_equal(found[2], keep)
        negative += case.has_negative_window
        total += 1
        if number % 25 == 0 and number // 25 < KEPT:
            stored[f"mask_{number}"] = np.packbits(mask.astype(bool))
            stored[f"keep_{number}"] = keep.astype(np.uint8)
    np.savez_compressed(GOLDEN, **stored)
    print(f"{total} cases, {negative} with a window without positive values; equal: {equal}")
    print(f"{len(stored) // 2} cases in {GOLDEN.name}, {GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
