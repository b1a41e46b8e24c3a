"""Features that nobody trained: the floors below which an encoder has learnt nothing useful."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.evals.features import FeatureError
from maskmim.types import Array, Spec


@functools.partial(jax.jit, static_argnames="size")
def raw_pixels(images: Array, *, size: tuple[int, int] = (16, 16)) -> Array:
    """Pixels of the image shrunk by area averaging: u8[B, H, W, C] -> f32[B, h * w * C] in [0, 1].

    size: (h, w) pixels after shrinking; each is the mean of the area that it covers, fractions of
          source pixels included, so any H and W do. 16 x 16 x 3 is 768 values, the width of ViT-B.
    Nothing is centred: the cosine that kNN uses then keeps overall colour, which makes it the
    stronger floor on photographs of products.
    Raises FeatureError where `size` is larger than the image.
    """
    height, width = images.shape[1:3]
    if not (0 < size[0] <= height and 0 < size[1] <= width):
        raise FeatureError(
            f"raw_pixels shrinks images: size {size} does not fit {height} x {width}"
        )
    rows, columns = _area_weights(height, size[0]), _area_weights(width, size[1])
    values = images.astype(jnp.float32) / 255.0
    exact = jax.lax.Precision.HIGHEST
    small = jnp.einsum("yh,bhwc->bywc", rows, values, precision=exact)
    small = jnp.einsum("xw,bywc->byxc", columns, small, precision=exact)
    return small.reshape(len(images), -1)


def _area_weights(length: int, cells: int) -> np.ndarray:
    """f32[cells, length]: the share that each source pixel has in each cell of equal width."""
    edges = np.linspace(0.0, length, cells + 1)
    pixel = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    overlap = np.clip(overlap, 0.0, None)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)


@functools.partial(jax.jit, static_argnames="bins")
def colour_histogram(images: Array, *, bins: int = 8) -> Array:
    """Square root of the joint colour histogram: u8[B, H, W, C] -> f32[B, bins ** C].

    bins: equal bins per channel over 0..255; 8 of 3 channels is 512 values.
    The histogram is of joint values (RGB for photographs), in shares of the pixels. After the
    square root (Hellinger) rows have length 1 and the cosine of two images is the Bhattacharyya
    coefficient of their colours. Where things are in the picture plays no part.
    Raises FeatureError for fewer than 2 bins and for more than 65,536 values.
    """
    channels = images.shape[-1]
    total = bins**channels
    if bins < 2 or total > 65_536:
        raise FeatureError(
            f"colour_histogram with bins = {bins} of {channels} channels has {total} values: use "
            "at least 2 bins and at most 65,536 values"
        )
    level = images.astype(jnp.int32) * bins // 256
    joint = sum(level[..., c] * bins ** (channels - 1 - c) for c in range(channels))
    flat = joint.reshape(len(images), -1)
    counts = jax.vmap(lambda values: jnp.bincount(values, length=total))(flat)
    return jnp.sqrt(counts / flat.shape[1]).astype(jnp.float32)


def untrained(spec: Spec) -> dict[str, Callable[[Array], Array]]:
    """The floors that suit a stream, by the names that tables give them.

    Of a clip the middle frame stands for its pixels, all frames for its colours.
    """
    if spec.stream == "audio":
        return {"log-mel statistics": band_statistics}
    if spec.stream == "video":
        return {"raw pixels": _middle_pixels, "colour histogram": _colours_of_frames}
    return {"raw pixels": raw_pixels, "colour histogram": colour_histogram}


@jax.jit
def band_statistics(spectrograms: Array) -> Array:
    """Mean and deviation over time of every band: f32[B, time, mel, C] -> f32[B, 2 * mel * C]."""
    values = spectrograms.astype(jnp.float32)
    both = jnp.stack([values.mean(axis=1), values.std(axis=1)], axis=1)
    return both.reshape(len(both), -1)


def _middle_pixels(clips: Array) -> Array:
    return raw_pixels(clips[:, clips.shape[1] // 2])


def _colours_of_frames(clips: Array) -> Array:
    examples, frames, height, width, channels = clips.shape
    return colour_histogram(clips.reshape(examples, frames * height, width, channels))
