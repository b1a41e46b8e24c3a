"""Random erasing inside the train step: a rectangle of an example becomes noise."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from maskmim.config.ranges import Fraction, FractionRange, PositiveFraction
from maskmim.methods.mixing import picture_sides
from maskmim.types import Array, Randomness

ATTEMPTS = 10  # Rectangles that are drawn for an example; the first that fits is taken.


def random_erasing(
    randomness: Randomness,
    inputs: Array,
    *,
    chance: Fraction = 0.25,
    area: FractionRange = (0.02, 1 / 3),
    least_aspect: PositiveFraction = 0.3,
) -> Array:
    """Replace a rectangle of some examples by noise from N(0, 1), each pixel by itself.

    inputs: f32[B, ..., H, W, C] normalised inputs; of clips the same rectangle in every frame.
    chance: probability that an example is erased.
    area:   limits of the rectangle's share of the picture.
    least_aspect: of height / width, whose logarithm is uniform between this and its inverse.
    Raises MethodError for inputs that are no pictures, clips or spectrograms.
    Source: random erasing (arXiv 1708.04896) as timm's data/random_erasing.py, mode 'pixel', with
    one rectangle. Of ten rectangles the first that is smaller than the picture is taken.
    """
    sides = picture_sides(inputs, "erase")
    limits = math.log(least_aspect), -math.log(least_aspect)

    def erase(key: Array, one: Array) -> Array:
        keys = jax.random.split(key, 6)
        areas = jax.random.uniform(keys[1], ATTEMPTS, jnp.float32, *area)
        aspects = jnp.exp(jax.random.uniform(keys[2], ATTEMPTS, jnp.float32, *limits))
        corner = jax.random.uniform(keys[3], (2,), jnp.float32)
        inside = rectangle(areas, aspects, corner, sides)
        inside &= jax.random.uniform(keys[0], (), jnp.float32) < chance
        noise = jax.random.normal(keys[4], one.shape, one.dtype)
        return jnp.where(inside[..., None], noise, one)

    return jax.vmap(erase)(randomness.inside("erase").each("example"), inputs)


def rectangle(areas: Array, aspects: Array, corner: Array, sides: tuple[int, int]) -> Array:
    """Return bool[H, W], the first of some rectangles that fits; False where none does.

    areas, aspects: f32[n] shares of the picture and height / width. corner: f32[2] in [0, 1), where
    its top left corner lies among the places that it may have.
    """
    rows, columns = sides
    heights = jnp.round(jnp.sqrt(areas * (rows * columns) * aspects)).astype(jnp.int32)
    widths = jnp.round(jnp.sqrt(areas * (rows * columns) / aspects)).astype(jnp.int32)
    fits = (heights < rows) & (widths < columns)
    first = jnp.argmax(fits)
    height, width = heights[first], widths[first]
    places = jnp.stack([rows - height + 1, columns - width + 1]).astype(jnp.float32)
    top, left = jnp.floor(corner * places).astype(jnp.int32)
    row, column = jnp.arange(rows)[:, None], jnp.arange(columns)[None]
    inside = (row >= top) & (row < top + height) & (column >= left) & (column < left + width)
    return inside & fits[first]
