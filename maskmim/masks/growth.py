"""Mask ratios that change over training, and their rounding to a few static ones.

A growth is a function `(progress, *, ...) -> f32[]` of the share of training done. Its values are
rounded to `Buckets`, since every new ratio means a compilation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax.numpy as jnp

from maskmim.config.ranges import (
    Ascending,
    Fraction,
    Limits,
    NonNegative,
    OpenFraction,
    PositiveFraction,
)
from maskmim.masks.core import MaskError
from maskmim.types import Array

Growth = Callable[[Array | float], Array]


class Buckets(NamedTuple):
    """A few mask ratios, and the one to use at each progress of training.

    ratios: Python floats, since each ratio has its own array shapes.
    number: progress -> i32[] the index in `ratios` of the one to use.
    """

    ratios: tuple[float, ...]
    number: Callable[[Array | float], Array]


def cosine(
    progress: Array | float,
    *,
    low: Fraction = 0.15,
    high: Fraction = 0.75,
    until: PositiveFraction = 2 / 3,
    offset: NonNegative = 0.008,
) -> Array:
    """Raise the ratio from low to high like the noise of a diffusion, then keep it constant.

    The share of the way is 1 - f(t) / f(0) with f(t) = cos^2((t + offset) / (1 + offset) * pi / 2),
    t the share of `until` that is done.
    Source: LMD (row 28), cosine_schedule of engine_pretrain.py, AnonymousPony/lmd; nothing is
    random, the ratio is a function of the step.
    """

    def noise(t: Array) -> Array:
        return jnp.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2

    done = _share_done(progress, until)
    return low + (high - low) * (1 - noise(done) / noise(jnp.float32(0.0)))


def linear(
    progress: Array | float,
    *,
    low: Fraction = 0.15,
    high: Fraction = 0.75,
    until: PositiveFraction = 2 / 3,
) -> Array:
    """Raise the ratio linearly from low to high, then keep it constant."""
    return low + (high - low) * _share_done(progress, until)


def two_ramps(
    progress: Array | float,
    *,
    low: Fraction = 0.15,
    middle: Fraction = 0.4,
    high: Fraction = 0.75,
    places: Annotated[tuple[Fraction, Fraction, Fraction], Ascending()] = (1 / 6, 1 / 3, 2 / 3),
) -> Array:
    """Raise the ratio linearly from low to middle, and later to high; constant elsewhere.

    places: shares of training at which the first ramp ends, the second starts and ends. The values
            are ours.
    Source: a commented-out schedule in LMD's code.
    Differences: LMD's does not count the second ramp from its own start and would pass 1.
    """
    return jnp.interp(
        jnp.asarray(progress, jnp.float32),
        jnp.array([0.0, *places]),
        jnp.array([low, middle, middle, high]),
    )


def bucketed(
    *,
    growth: Growth = cosine,
    low: OpenFraction = 0.15,
    high: OpenFraction = 0.75,
    count: Annotated[int, Limits(2)] = 8,
) -> Buckets:
    """Return `count` equally spaced ratios from low to high; the nearest to the growth is used.

    Raises MaskError unless 0 < low < high < 1 and there are two buckets or more.
    """
    if not (0 < low < high < 1 and count >= 2):
        raise MaskError(f"low {low}, high {high}, count {count}: 0 < low < high < 1, two or more")
    step = (high - low) / (count - 1)

    def number(progress: Array | float) -> Array:
        nearest = jnp.round((growth(progress) - low) / step).astype(jnp.int32)
        return jnp.clip(nearest, 0, count - 1)

    return Buckets(tuple(low + step * place for place in range(count)), number)


def _share_done(progress: Array | float, until: float) -> Array:
    return jnp.clip(jnp.asarray(progress, jnp.float32) / until, 0.0, 1.0)
