"""Draws masks with slots spread over all devices; run by test_devices.py.

python -m tests.masks.draw_on_devices FILE [PREFIX ...]
"""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from maskmim.mask_tools.discovery import Sampler
from maskmim.types import Context, Mask, Randomness
from tests.masks.every import alone, hint, main_grid

BATCH = 32


def chosen(prefixes: list[str]) -> list[Sampler]:
    """Samplers without hints of examples; where prefixes are given, those that start with one."""
    free = [each for each in alone() if set(each.needs) <= {"noise_bank"}]
    starts = tuple(prefixes) or ("",)
    return [each for each in free if each.name.startswith(starts)]


def visible_of_all(prefixes: list[str]) -> dict[str, np.ndarray]:
    """Visible tokens i32[32, K] by sampler; slots are split over the devices there are."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    places = NamedSharding(mesh, PartitionSpec("data"))
    slots = jax.device_put(jnp.arange(BATCH, dtype=jnp.uint32), places)
    randomness = Randomness(jax.random.key(42), slots)
    return {each.name: _visible(each, randomness) for each in chosen(prefixes)}


def _visible(sampler: Sampler, randomness: Randomness) -> np.ndarray:
    grid = main_grid(sampler)
    hints = {name: jnp.asarray(hint(name, grid)) for name in sampler.needs}
    context = Context({}, {"tokens": grid}, hints, 0.5)
    options = {"ratio": 0.75} if "ratio" in sampler.takes else {}
    found = jax.jit(lambda draw: sampler.function(draw, context, **options))(randomness)
    masks = (found,) if isinstance(found, Mask) else found
    return np.concatenate([np.asarray(mask.visible) for mask in masks], axis=1)


if __name__ == "__main__":
    np.savez(sys.argv[1], devices=jax.device_count(), **visible_of_all(sys.argv[2:]))
