"""Resizing of learned positions other than MAE's and timm's `posembed.resize_positions`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config.ranges import NonNegative
from maskmim.types import Array


def with_offset(
    table: Array, old: tuple[int, int], new: tuple[int, int], *, offset: NonNegative = 0.1
) -> Array:
    """Resize positions f32[N, D] to another grid, by scales of (new + offset) / old.

    Bicubic as in torch, without antialiasing.
    Source: interpolate_pos_encoding of dino and dinov2, facebookresearch, which add 0.1 so that
    rounding cannot lose a row. transformers leaves it out.
    """
    shape = (*new, table.shape[-1])
    scale = jnp.array([(after + offset) / before for before, after in zip(old, new, strict=True)])
    method = jax.image.ResizeMethod.CUBIC_PYTORCH
    image = table.reshape(*old, -1)
    resized = jax.image.scale_and_translate(
        image, shape, (0, 1), scale, jnp.zeros(2), method, antialias=False
    )
    return resized.reshape(new[0] * new[1], -1)


def antialiased(table: Array, old: tuple[int, int], new: tuple[int, int]) -> Array:
    """Resize positions f32[N, D] to another grid, bicubic and antialiased as in torch and PIL.

    Source: dinov2's networks with registers (interpolate_antialias, no offset).
    """
    shape = (*new, table.shape[-1])
    resized = jax.image.resize(table.reshape(*old, -1), shape, "cubic", antialias=True)
    return resized.reshape(new[0] * new[1], -1)
