"""Falling curves from a place in [0, 1] to a mask ratio in [0, 1], for masked generation.

In training the place is drawn uniformly and the curve gives the share of masked tokens
(`ratio.along`); in parallel decoding the place is the share of steps done, and the curve gives the
share of tokens that stay masked. A concave curve masks much in training and reveals little at
first.

Source: MaskGIT (arXiv 2202.04200), section 3.2, and schedule() of libml/mask_schedule.py,
google-research/maskgit, which clips the ratio to at least 1e-6; here the clip is 0.
"""

from __future__ import annotations

import math
from typing import Annotated

import jax.numpy as jnp

from maskmim.config.ranges import Limits, Positive
from maskmim.types import Array


def linear(place: Array) -> Array:
    """Return 1 - place."""
    return jnp.clip(1.0 - place, 0.0, 1.0)


def cosine(place: Array) -> Array:
    """Return cos(pi / 2 * place), MaskGIT's choice; its mean over places is 2 / pi."""
    return jnp.clip(jnp.cos(math.pi / 2 * place), 0.0, 1.0)


def power(place: Array, *, exponent: Positive = 3.0) -> Array:
    """Return 1 - place ** exponent: cubic for 3, square for 2, convex (square root) for 0.5."""
    return jnp.clip(1.0 - place**exponent, 0.0, 1.0)


def arccosine(place: Array) -> Array:
    """Return 2 / pi * arccos(place): convex, few tokens stay masked.

    Source: the ratio 'arccos' of valeoai/Halton-MaskGIT, its training curve.
    """
    return jnp.clip(2 / math.pi * jnp.arccos(jnp.clip(place, 0.0, 1.0)), 0.0, 1.0)


def logarithm(place: Array, *, tokens: Annotated[int, Limits(2)] = 256) -> Array:
    """Return -log(place) / log(tokens): convex, 1 up to place 1 / tokens."""
    return jnp.clip(-jnp.log(jnp.maximum(place, 1e-30)) / math.log(tokens), 0.0, 1.0)


def exponential(place: Array, *, tokens: Annotated[int, Limits(2)] = 256) -> Array:
    """Return 1 - tokens ** (place - 1): concave, near 1 until late."""
    return jnp.clip(1.0 - jnp.exp(-math.log(tokens) * (1.0 - place)), 0.0, 1.0)
