"""Writes tests/golden/masks/alignment_official.npz with the official code of Balestriero and LeCun.

  git clone https://github.com/RandallBalestriero/LearningByReconstruction
  python -m tests.golden.masks.alignment_record LearningByReconstruction

Runs `Xy_to_errors` (alignment.py) and `generalized_solution` (utils.py) on small correlated data.
utils.py imports a private package that these functions do not use: an empty module stands for it.
alignment.py imports numpy only where it is run as a script: it is handed numpy. Recorded from
commit 75ea820e51621484861525b3e60963899f4d007d.
"""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).with_name("alignment_official.npz")
SHAPE, FEATURES = (3, 4, 4), 6  # channels, rows, columns
NOISES = {"none": None, "gaussian": "gaussian-0.5", "pixels": "mask-0.25", "blocks": "mask-0.75"}
PATCHES = {"none": 1, "gaussian": 1, "pixels": 1, "blocks": 2}


def data() -> tuple[np.ndarray, np.ndarray]:
    """Correlated rows f64[80, 48], exact in float32, and labels of uneven classes i64[80]."""
    rng = np.random.RandomState(0)
    rows = rng.standard_normal((80, 48)) @ rng.standard_normal((48, 48)) / 7
    rows = rows - rows.mean(0)
    labels = (rows[:, :3].sum(1) > -0.5).astype(int) + (rows[:, 7] > 1)
    return rows.astype(np.float32).astype(np.float64), labels


def main(folder: str) -> None:
    """Records the curves and the maps from corrupted to clean images."""
    sys.path.insert(0, folder)
    sys.modules["omega"] = types.ModuleType("omega")
    utils, official = importlib.import_module("utils"), importlib.import_module("alignment")
    official.np = np
    rows, labels = data()
    found = {"rows": rows.astype(np.float32), "labels": labels.astype(np.int8)}
    for name, noise in NOISES.items():
        patch = {"image_shape": SHAPE, "patch_shape": (PATCHES[name],) * 2}
        found[f"curve_{name}"] = official.Xy_to_errors(rows, np.eye(3)[labels], noise, **patch)
    for name in ("gaussian", "blocks"):
        patch = {"image_shape": SHAPE, "patch_shape": (PATCHES[name],) * 2}
        decoder, encoder = utils.generalized_solution(FEATURES, rows.T, NOISES[name], **patch)
        found[f"map_{name}"] = (decoder.T @ encoder.T).astype(np.float32)
    np.savez_compressed(GOLDEN, **found)
    print(f"{GOLDEN.name}: {GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
