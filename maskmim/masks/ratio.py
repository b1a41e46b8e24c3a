"""Laws of the mask ratio: the share of hidden tokens, drawn for each example or batch.

A law is a function `(key, progress, *, ...) -> f32[]`, a share in [0, 1]. Shapes stay static:
`varied` keeps every token in its place and hides a traced number of them. Where the encoder drops
hidden tokens use `methods.ratio_buckets`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from maskmim.config.ranges import Finite, Fraction, Positive
from maskmim.masks import curves
from maskmim.types import Array

Law = Callable[[Array, Array | float], Array]


def fixed(key: Array, progress: Array | float, *, share: Fraction) -> Array:
    """Return the same share every time."""
    return jnp.float32(share)


def uniform(
    key: Array, progress: Array | float, *, low: Fraction = 0.5, high: Fraction = 1.0
) -> Array:
    """Draw a share uniformly between low and high.

    The default is MaskViT's (row 91): its models start decoding from nothing, which a fixed ratio
    never trains. AttMask draws from 0.1 to 0.5.
    """
    return jax.random.uniform(key, (), jnp.float32, minval=low, maxval=high)


def truncated_normal(
    key: Array,
    progress: Array | float,
    *,
    mean: Finite = 0.55,
    deviation: Positive = 0.25,
    low: Fraction = 0.5,
    high: Fraction = 1.0,
) -> Array:
    """Draw a share from a normal distribution truncated at low and high.

    mean, deviation: of the normal distribution before truncation; the defaults are MAGE's.
    Source: MAGE (arXiv 2211.09117), section 3.1, and mask_ratio_generator of models_mage.py, which
    draws one ratio for each call on a device; here `varied` decides which examples share a draw.
    """
    bounds = (low - mean) / deviation, (high - mean) / deviation
    return mean + deviation * jax.random.truncated_normal(key, *bounds, (), jnp.float32)


def beta(key: Array, progress: Array | float, *, a: Positive = 12.0, b: Positive = 3.0) -> Array:
    """Draw a share from a beta distribution; the defaults, with mean 0.8, are ENAT's (row 94)."""
    return jax.random.beta(key, a, b, dtype=jnp.float32)


def along(
    key: Array, progress: Array | float, *, curve: Callable[[Array], Array] = curves.cosine
) -> Array:
    """Return a curve's ratio at a uniformly random place, see `curves`: MaskGIT's law."""
    return curve(jax.random.uniform(key, (), jnp.float32))


def sometimes(key: Array, progress: Array | float, *, law: Law, chance: Fraction = 0.5) -> Array:
    """Return the share of another law with probability `chance`, else 0: nothing is hidden.

    Source: AttMask and iBOT mask a crop with probability 0.5.
    """
    for_law, for_coin = jax.random.split(key)
    return jnp.where(
        jax.random.bernoulli(for_coin, jnp.float32(chance)), law(for_law, progress), 0.0
    )
