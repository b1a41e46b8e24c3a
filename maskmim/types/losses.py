"""What a method says of one batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp

from maskmim.types.arrays import Array, Tree


class Mean(NamedTuple):
    """A weighted mean kept as its two sums, so that splitting a batch never changes it."""

    total: Array
    weight: Array

    @property
    def value(self) -> Array:
        """The mean; 0 where the weight is 0."""
        return jnp.where(self.weight > 0, self.total / jnp.maximum(self.weight, 1e-30), 0.0)


class Losses(NamedTuple):
    """What a method says of one batch, all of it additive over examples.

    terms:   {name: Mean}, the parts of the loss; the loss is the sum of scale * mean.
    scales:  {name: float} static.
    metrics: {name: Mean} for the log.
    carry:   sums that `Method.refresh` wants (batch centres, codebook counts), or ().
    """

    terms: Mapping[str, Mean]
    scales: Mapping[str, float]
    metrics: Mapping[str, Mean]
    carry: Tree
