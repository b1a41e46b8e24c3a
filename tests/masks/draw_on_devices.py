"""Draws masks with slots spread over all devices; run by test_devices.py."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from maskmim.types import Randomness
from tests.masks.sampling import SAMPLERS, draw

BATCH = 32
NAMES = ("random", "green", "red", "bank")


def visible_of_all() -> dict[str, np.ndarray]:
    """Visible tokens i32[32, K] by sampler; slots are split over the devices there are."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    places = NamedSharding(mesh, PartitionSpec("data"))
    slots = jax.device_put(jnp.arange(BATCH, dtype=jnp.uint32), places)
    randomness = Randomness(jax.random.key(42), slots)
    found = {}
    for name in NAMES:
        mask = draw(randomness, sampler=SAMPLERS[name], grid=(14, 14), ratio=0.75)
        found[name] = np.asarray(mask.visible)
    return found


if __name__ == "__main__":
    np.savez(sys.argv[1], devices=jax.device_count(), **visible_of_all())
