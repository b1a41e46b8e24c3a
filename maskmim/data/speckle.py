"""Crops under speckle, the multiplicative noise of coherent imaging such as radar."""

from __future__ import annotations

import math

import numpy as np

from maskmim.config.ranges import (
    Fraction,
    FractionRange,
    PositiveFraction,
    PositiveOrInf,
    PositiveRange,
)
from maskmim.data.transforms import random_resized_crop_flip, resize_center_crop


def speckled_crop(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    looks: PositiveOrInf = 1.0,
    scale: FractionRange = (0.2, 1.0),
    ratio: PositiveRange = (3 / 4, 4 / 3),
    flip: Fraction = 0.5,
) -> np.ndarray:
    """Return a random crop under speckle.

    looks: see `speckle`. scale, ratio, flip: see `transforms.random_resized_crop_flip`.
    """
    crop = random_resized_crop_flip(rng, image, size, scale=scale, ratio=ratio, flip=flip)
    return speckle(rng, crop, looks)


def speckled_center_crop(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    looks: PositiveOrInf = 1.0,
    crop_fraction: PositiveFraction = 0.875,
) -> np.ndarray:
    """Return the centre of the picture under speckle, for evaluation.

    looks: see `speckle`. crop_fraction: see `transforms.resize_center_crop`.
    """
    crop = resize_center_crop(rng, image, size, crop_fraction=crop_fraction)
    return speckle(rng, crop, looks)


def speckle(rng: np.random.Generator, image: np.ndarray, looks: float) -> np.ndarray:
    """Multiply each value of a picture by the amplitude of speckle.

    looks: independent looks that are averaged; inf for no noise. The intensity of L looks follows a
           gamma distribution of mean 1 and variance 1 / L, the amplitude is its square root.
    u8 is rounded and clipped, f32 is not. Source: Goodman's model of fully developed speckle
    (Journal of the Optical Society of America 66, 1976).
    """
    if math.isinf(looks):
        return image
    noise = np.sqrt(rng.gamma(looks, 1 / looks, image.shape).astype(np.float32))
    values = image * noise
    if image.dtype == np.uint8:
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return values.astype(image.dtype)
