"""Script that writes masks of samplers; run by test_environments.py in other environments.

python -m tests.masks.draw_all FILE [PREFIX ...]
"""

from __future__ import annotations

import sys

import numpy as np

from maskmim.runtime.environment import pin_randomness
from tests.masks.every import draw, main_grid, standalone_samplers


def hidden_of(prefixes: list[str]) -> dict[str, np.ndarray]:
    """Return hidden tokens bool[8, N] by sampler whose name starts with one of the prefixes."""
    starts = tuple(prefixes) or ("",)
    drawn = {
        each.name: draw(each, main_grid(each), ratio=0.75, slots=range(8))
        for each in standalone_samplers()
        if each.name.startswith(starts)
    }
    return {
        name: np.concatenate([mask.hidden for mask in masks], axis=1)
        for name, masks in drawn.items()
    }


if __name__ == "__main__":
    file, *arguments = sys.argv[1:]
    if "pinned" in arguments:
        pin_randomness()
        arguments.remove("pinned")
    np.savez(file, **hidden_of(arguments))
