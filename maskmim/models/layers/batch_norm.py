"""Batch normalisation: by the statistics of the whole batch in training, by averages afterwards.

A module with such norms reads no flag. Applied with the params alone it normalises by its batch;
with the collection NORMS besides, by the averages in there. The sums of a batch that the averages
are made of leave through the collection SUMS, where that is mutable; `models.running_norms` joins
both to a `Net`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.models.layers.blocks import Dtype
from maskmim.models.layers.errors import ModelError
from maskmim.types import Array, Tree

# Collections of Flax variables: averages that are read, sums that are written.
NORMS = "norms"
SUMS = "sums"


class Moments(NamedTuple):
    """Statistics of each channel: mean f32[C], biased variance f32[C]."""

    mean: Array
    variance: Array


class BatchSums(NamedTuple):
    """Sums of a batch that running averages are made of; they add over micro-batches and calls.

    count:  f32[] values of a channel.
    total:  f32[C] their sum.
    within: f32[C] sum of squared deviations from the mean of the batch that normalised them. Sums
            of squares would lose a variance that is small beside the mean.
    calls:  f32[] batches that were normalised, of at least one value.
    """

    count: Array
    total: Array
    within: Array
    calls: Array


def batch_moments(x: Array, present: Array | None = None) -> tuple[Moments, BatchSums]:
    """Return the statistics of a batch [..., C] over all its axes but the last, in float32.

    present: bool or float [...], the weight of each value's place, 0 for padding; None for 1.
    Under jit over a mesh the batch is the global one, however it is sharded; with micro-batches it
    is the micro-batch. A batch without a present value has the mean and the variance 0.
    """
    x = x.astype(jnp.float32)
    axes = tuple(range(x.ndim - 1))
    weight = jnp.ones((*x.shape[:-1], 1), jnp.float32)
    if present is not None:
        weight = jnp.broadcast_to(present.astype(jnp.float32)[..., None], weight.shape)
        x = jnp.where(weight > 0, x, 0.0)  # Padding may hold inf or nan.
    count = jnp.sum(weight)
    divisor = jnp.maximum(count, 1e-30)
    total = jnp.sum(x * weight, axis=axes)
    mean = total / divisor
    within = jnp.sum(weight * jnp.square(x - _along_channels(mean, x)), axis=axes)
    calls = (count > 0).astype(jnp.float32)
    return Moments(mean, within / divisor), BatchSums(count, total, within, calls)


def normalise(x: Array, moments: Moments, *, epsilon: float) -> Array:
    """Return (x - mean) / sqrt(variance + epsilon) of each channel: [..., C] -> f32[..., C]."""
    x = x.astype(jnp.float32)
    scale = jax.lax.rsqrt(moments.variance + epsilon)
    return (x - _along_channels(moments.mean, x)) * _along_channels(scale, x)


def _along_channels(values: Array, like: Array) -> Array:
    """Return [C] with the number of axes of [..., C]."""
    return values.reshape((1,) * (like.ndim - 1) + values.shape)


class BatchNorm(nn.Module):
    """Normalise each channel over all examples and places, then scale and shift it.

    epsilon: added to the variance.
    dtype:   of the result; statistics are float32.
    affine:  whether a learnt scale and bias follow.

    In training the statistics are those of the global batch, on any mesh, and no random number or
    order matters. With `train.micro_batches` they are those of each micro-batch, so that losses
    depend on that number, as they do in every implementation. Of a module that is applied with the
    params alone, as heads that are thrown away, nothing but this happens.
    Raises ModelError where a channel has one value in training, as torch does.
    Source: arXiv 1502.03167; torch.nn.BatchNorm1d to 3d. Difference: where a batch is split over
    devices torch normalises by each device's share, unless SyncBatchNorm is used.
    """

    epsilon: float = 1e-5
    dtype: Dtype = jnp.float32
    affine: bool = True

    @nn.compact
    def __call__(self, x: Array, present: Array | None = None) -> Array:
        """Normalise [..., C]; present: weights [...] of the places, 0 for padding, or None."""
        width = x.shape[-1:]
        moments = self._averages(width)
        if moments is None:
            moments = self._of_batch(x, present)
        x = normalise(x, moments, epsilon=self.epsilon)
        if self.affine:
            scale = self.param("scale", nn.initializers.ones, width)
            bias = self.param("bias", nn.initializers.zeros, width)
            x = x * _along_channels(scale, x) + _along_channels(bias, x)
        return x.astype(self.dtype)

    def _averages(self, width: tuple[int, ...]) -> Moments | None:
        """Return the running averages f32[C], or None where the batch's statistics are used."""
        made = self.is_initializing()
        if not made and not self.has_variable(NORMS, "mean"):
            return None
        mean = self.variable(NORMS, "mean", jnp.zeros, width, jnp.float32).value
        variance = self.variable(NORMS, "variance", jnp.ones, width, jnp.float32).value
        return None if made else Moments(mean, variance)

    def _of_batch(self, x: Array, present: Array | None) -> Moments:
        """Return the statistics of this batch, and hand on the sums that averages are made of."""
        moments, sums = batch_moments(x, present)
        if self.is_initializing():
            return moments
        if math.prod(x.shape[:-1]) == 1:
            raise ModelError(
                f"batch norm of an array of the shape {x.shape} has one value for each channel, "
                "which would become 0: use more examples (train.batch_size, train.micro_batches)"
            )
        zero = BatchSums(*(jnp.zeros(part.shape, jnp.float32) for part in sums))
        self.sow(SUMS, "batch", sums, reduce_fn=_add, init_fn=lambda: zero)
        return moments


def _add(one: Tree, other: Tree) -> Tree:
    return jax.tree.map(jnp.add, one, other)


def updated_average(average: Tree, sums: BatchSums, *, momentum: float) -> dict[str, Array]:
    """Return the averages {'mean', 'variance'} of one norm after a step.

    momentum: share of the averages that a step keeps; torch's momentum is 1 minus this.
    The mean of the batch enters, and its unbiased variance. Of several micro-batches or calls in a
    step these are the mean of all values, and the variances within each, weighted by their degrees
    of freedom. A step without a value changes nothing.
    """
    count, calls = sums.count[..., None], sums.calls[..., None]
    fresh = {
        "mean": sums.total / jnp.maximum(count, 1e-30),
        "variance": sums.within / jnp.maximum(count - calls, 1.0),
    }
    share = jnp.where(count > 0, jnp.float32(1.0 - momentum), jnp.float32(0.0))
    return {name: average[name] + share * (fresh[name] - average[name]) for name in fresh}
