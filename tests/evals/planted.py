"""Features with known answers, for the tests of evaluators."""

from __future__ import annotations

import numpy as np

from maskmim.evals.features import Features, Split

FINE, COARSE = 6, 3
CLASSES = {
    "fine": tuple(f"fine {i}" for i in range(FINE)),
    "coarse": tuple(f"coarse {i}" for i in range(COARSE)),
}


def clusters(*, noise: float, train: int = 400, test: int = 600, width: int = 16, seed: int = 0):
    """A cluster of features for each fine class, two fine classes in each coarse one."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(FINE, width))

    def split(count: int) -> Split:
        fine = rng.integers(0, FINE, count).astype(np.int32)
        rows = centres[fine] + noise * rng.normal(size=(count, width))
        return Split(rows.astype(np.float32), {"fine": fine, "coarse": fine // 2})

    return Features.of(split(train), split(test), CLASSES)


def without_meaning(*, train: int = 400, test: int = 600, width: int = 16, seed: int = 0):
    """Features that know nothing of the labels."""
    rng = np.random.default_rng(seed)

    def split(count: int) -> Split:
        fine = rng.integers(0, FINE, count).astype(np.int32)
        rows = rng.normal(size=(count, width)).astype(np.float32)
        return Split(rows, {"fine": fine, "coarse": fine // 2})

    return Features.of(split(train), split(test), CLASSES)
