"""The random numbers of a step, addressed by name and by slot in the global batch."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import jax
import jax.numpy as jnp

from maskmim.types.arrays import Array


def random_key(seed: int) -> Array:
    """Return the typed PRNG key of a seed, of one generator in every environment.

    Under `jax.vmap`, which draws a mask for each example, jax's faster 'rbg' draws all from the
    first key, so that masks would depend on micro-batches.
    """
    # A negative seed has another key where jax computes in 64 bits.
    with jax.enable_x64(False):
        return jax.random.key(seed, impl="threefry2x32")


class Randomness(NamedTuple):
    """The random numbers of one step, addressed by name and by slot in the global batch.

    What is drawn depends on (key, name, slot) alone, never on devices, hosts or micro-batches.

    key:   typed PRNG key of the step.
    slots: u32[B] the examples' places in the global batch.
    """

    key: Array
    slots: Array

    @classmethod
    def of(cls, key: Array, batch: int) -> Randomness:
        """Randomness for a whole batch of `batch` examples."""
        return cls(key, jnp.arange(batch, dtype=jnp.uint32))

    def shared(self, name: str) -> Array:
        """One key for the whole global batch, from the stream called `name`."""
        return jax.random.fold_in(self.key, zlib.crc32(name.encode()))

    def each(self, name: str) -> Array:
        """Keys [B], one per example, from the stream called `name`."""
        return jax.vmap(jax.random.fold_in, (None, 0))(self.shared(name), self.slots)

    def inside(self, name: str) -> Randomness:
        """Randomness of its own for a part called `name`, independent of the other parts'."""
        return self._replace(key=self.shared(name))
