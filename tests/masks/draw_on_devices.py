"""Script that draws masks with slots spread over all devices; run by test_devices.py.

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
from tests.masks.every import hint, main_grid, standalone_samplers

BATCH = 32


def matching_samplers(prefixes: list[str]) -> list[Sampler]:
    """Return the samplers without hints of examples whose names start with one of the prefixes."""
    free = [each for each in standalone_samplers() if set(each.needs) <= {"noise_bank"}]
    starts = tuple(prefixes) or ("",)
    return [each for each in free if each.name.startswith(starts)]


def visible_of_all(prefixes: list[str]) -> dict[str, np.ndarray]:
    """Return visible tokens i32[32, K] by sampler, with the slots split over all devices."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    places = NamedSharding(mesh, PartitionSpec("data"))
    slots = jax.device_put(jnp.arange(BATCH, dtype=jnp.uint32), places)
    randomness = Randomness(jax.random.key(42), slots)
    return {each.name: _visible(each, randomness) for each in matching_samplers(prefixes)}


def _visible(sampler: Sampler, randomness: Randomness) -> np.ndarray:
    grid = main_grid(sampler)
    hints = {name: jnp.asarray(hint(name, grid)) for name in sampler.needs}
    context = Context({}, {"tokens": grid}, hints, 0.5)
    options = {"ratio": 0.75} if "ratio" in sampler.takes else {}
    result = jax.jit(lambda draw: sampler.function(draw, context, **options))(randomness)
    masks = (result,) if isinstance(result, Mask) else result
    return np.concatenate([np.asarray(mask.visible) for mask in masks], axis=1)


if __name__ == "__main__":
    np.savez(sys.argv[1], devices=jax.device_count(), **visible_of_all(sys.argv[2:]))
