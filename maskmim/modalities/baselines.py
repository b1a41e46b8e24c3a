"""Encoders without training: one below these baselines has learnt nothing useful."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.modalities.modality import ModalityError
from maskmim.types import Array


@functools.partial(jax.jit, static_argnames="size")
def raw_pixels(images: Array, *, size: tuple[int, int] = (16, 16)) -> Array:
    """Return the pixels of the image shrunk by area averaging, in [0, 1].

    u8[B, H, W, C] -> f32[B, h * w * C].
    size: (h, w) pixels after shrinking; each is the mean of the area that it covers, including
          fractions of source pixels, so any H and W fit. 16 x 16 x 3 is 768 values, the width of
          ViT-B.
    Values are not centred: so the cosine of kNN keeps the overall colour, which makes this the
    stronger baseline on photographs of products.
    Raises ModalityError where `size` is larger than the image.
    """
    height, width = images.shape[1:3]
    if not (0 < size[0] <= height and 0 < size[1] <= width):
        raise ModalityError(
            f"raw_pixels shrinks images: size {size} is not within {height} x {width}"
        )
    rows, columns = _area_weights(height, size[0]), _area_weights(width, size[1])
    values = images.astype(jnp.float32) / 255.0
    exact = jax.lax.Precision.HIGHEST
    small = jnp.einsum("yh,bhwc->bywc", rows, values, precision=exact)
    small = jnp.einsum("xw,bywc->byxc", columns, small, precision=exact)
    return small.reshape(len(images), -1)


def _area_weights(length: int, cells: int) -> np.ndarray:
    """Return the share of each source pixel in each cell of equal width: f32[cells, length]."""
    edges = np.linspace(0.0, length, cells + 1)
    pixel = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    overlap = np.clip(overlap, 0.0, None)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)


@functools.partial(jax.jit, static_argnames="bins")
def colour_histogram(images: Array, *, bins: int = 8) -> Array:
    """Return the square root of the joint colour histogram: u8[B, H, W, C] -> f32[B, bins ** C].

    bins: equal bins per channel over 0..255; 8 for 3 channels gives 512 values.
    The histogram counts joint values (RGB for photographs), in shares of the pixels. After the
    square root (Hellinger) rows have length 1, and the cosine of two images is the Bhattacharyya
    coefficient of their colours. Positions in the picture have no influence.
    Raises ModalityError for fewer than 2 bins and for more than 65,536 values.
    """
    channels = images.shape[-1]
    total = bins**channels
    if bins < 2 or total > 65_536:
        raise ModalityError(
            f"colour_histogram with bins = {bins} of {channels} channels has {total} values: use "
            "at least 2 bins and at most 65,536 values"
        )
    level = images.astype(jnp.int32) * bins // 256
    joint = sum(level[..., c] * bins ** (channels - 1 - c) for c in range(channels))
    flat = joint.reshape(len(images), -1)
    counts = jax.vmap(lambda values: jnp.bincount(values, length=total))(flat)
    return jnp.sqrt(counts / flat.shape[1]).astype(jnp.float32)


@jax.jit
def channel_statistics(images: Array) -> Array:
    """Return each channel's mean and deviation: [B, H, W, C] -> f32[B, 2 * C]."""
    values = images.astype(jnp.float32)
    return jnp.concatenate([values.mean(axis=(1, 2)), values.std(axis=(1, 2))], axis=-1)


@jax.jit
def band_statistics(spectrograms: Array) -> Array:
    """Return each band's mean and deviation: f32[B, time, mel, C] -> f32[B, 2 * mel * C]."""
    values = spectrograms.astype(jnp.float32)
    both = jnp.stack([values.mean(axis=1), values.std(axis=1)], axis=1)
    return both.reshape(len(both), -1)


@functools.partial(jax.jit, static_argnames="classes")
def class_shares(maps: Array, *, classes: int) -> Array:
    """Return the square root of each class's share: integers [B, *size, C] -> f32[B, classes].

    Indices outside [0, classes), such as a label to be ignored, count for none.
    """
    flat = maps.reshape(len(maps), -1).astype(jnp.int32)
    known = jnp.where((flat >= 0) & (flat < classes), flat, classes)
    counts = jax.vmap(lambda values: jnp.bincount(values, length=classes + 1)[:classes])(known)
    return jnp.sqrt(counts / jnp.float32(flat.shape[1])).astype(jnp.float32)
