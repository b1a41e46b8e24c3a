"""RandAugment: random operations of Pillow on a crop, for training on labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from maskmim.config.ranges import (
    Fraction,
    FractionRange,
    Limits,
    NonNegative,
    NonNegativeInt,
    PositiveRange,
)
from maskmim.data.jittered_crop import check_colours
from maskmim.data.transforms import random_resized_crop_flip
from maskmim.imagenet import IMAGENET_MEAN

MOST = 10.0  # The largest magnitude.
Magnitude = Annotated[float, Limits(0.0, MOST)]
# What moves into the picture: ImageNet's mean, as levels.
FILL = tuple(min(255, round(255 * mean)) for mean in IMAGENET_MEAN)
GEOMETRY = {"resample": Image.Resampling.BICUBIC, "fillcolor": FILL}


class Operation(NamedTuple):
    """An operation and its argument.

    argument: (strength in [0, 1], sign 1 or -1) -> the argument. apply: (picture, argument).
    """

    argument: Callable[[float, int], float]
    apply: Callable[[Image.Image, float], Image.Image]


def rand_augment_crop_flip(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    scale: FractionRange = (0.08, 1.0),
    ratio: PositiveRange = (3 / 4, 4 / 3),
    flip: Fraction = 0.5,
    count: NonNegativeInt = 2,
    magnitude: Magnitude = 9.0,
    spread: NonNegative = 0.5,
    chance: Fraction = 0.5,
) -> np.ndarray:
    """Crop and flip as `transforms.random_resized_crop_flip`, then apply random operations.

    count:     operations that are drawn, with replacement.
    magnitude: of each, from 0 to 10; spread: its standard deviation, after which it is clipped.
    chance:    probability that a drawn operation is applied.
    Returns u8[h, w, 3]. Raises DataError unless the picture has three channels of 8 bits.
    Source: RandAugment (arXiv 1909.13719) as rand-m9-mstd0.5-inc1 of timm (data/auto_augment.py),
    after timm's random crop and flip, as in MAE's fine-tuning.
    """
    check_colours(image, "rand_augment_crop_flip")
    crop = random_resized_crop_flip(rng, image, size, scale=scale, ratio=ratio, flip=flip)
    picture = Image.fromarray(crop)
    for name in rng.choice(list(OPERATIONS), count):
        if rng.random() < chance:
            drawn = rng.normal(magnitude, spread)
            picture = augment(picture, str(name), drawn, 1 if rng.random() < 0.5 else -1)
    return np.asarray(picture)


def augment(picture: Image.Image, name: str, magnitude: float, sign: int) -> Image.Image:
    """Apply an operation, a key of OPERATIONS, at a magnitude that is clipped to [0, 10].

    sign: 1 or -1, the direction of operations that have one.
    """
    operation = OPERATIONS[name]
    strength = min(max(magnitude, 0.0), MOST) / MOST
    return operation.apply(picture, operation.argument(strength, sign))


def _affine(matrix: Callable[[Image.Image, float], tuple[float, ...]]) -> Callable:
    """Return an operation that looks up each pixel at a place of the picture that `matrix` gives.

    matrix: (picture, argument) -> (a, b, c, d, e, f), of the place (a x + b y + c, d x + e y + f).
    """

    def apply(picture: Image.Image, argument: float) -> Image.Image:
        affine = Image.Transform.AFFINE
        return picture.transform(picture.size, affine, matrix(picture, argument), **GEOMETRY)

    return apply


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    """Return an operation that moves away from the picture, by at most 0.9, in both directions."""

    def factor(strength: float, sign: int) -> float:
        return max(0.1, 1.0 + sign * 0.9 * strength)

    return Operation(factor, lambda picture, by: kind(picture).enhance(by))


def _add_to_dark(picture: Image.Image, amount: float) -> Image.Image:
    """Add an amount to all levels below 128."""
    table = [min(255, level + int(amount)) if level < 128 else level for level in range(256)]
    return picture.point(table * 3)


def _keep_bits(picture: Image.Image, bits: float) -> Image.Image:
    """Keep the highest bits of each level; black for 0, which Pillow 13 refuses."""
    kept = 256 - 2 ** (8 - int(bits))
    return picture.point([level & kept for level in range(256)] * 3)


def _signed(most: float) -> Callable[[float, int], float]:
    return lambda strength, sign: sign * most * strength


OPERATIONS = {
    "auto_contrast": Operation(_signed(0), lambda picture, _: ImageOps.autocontrast(picture)),
    "equalize": Operation(_signed(0), lambda picture, _: ImageOps.equalize(picture)),
    "invert": Operation(_signed(0), lambda picture, _: ImageOps.invert(picture)),
    "rotate": Operation(_signed(30.0), lambda picture, by: picture.rotate(by, **GEOMETRY)),
    "posterize": Operation(lambda strength, _: 4 - int(4 * strength), _keep_bits),
    "solarize": Operation(
        lambda strength, _: 256 - min(256, int(256 * strength)),
        lambda picture, above: ImageOps.solarize(picture, int(above)),
    ),
    "solarize_add": Operation(lambda strength, _: min(128, int(110 * strength)), _add_to_dark),
    "color": _enhance(ImageEnhance.Color),
    "contrast": _enhance(ImageEnhance.Contrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
    "shear_x": Operation(_signed(0.3), _affine(lambda _, by: (1, by, 0, 0, 1, 0))),
    "shear_y": Operation(_signed(0.3), _affine(lambda _, by: (1, 0, 0, by, 1, 0))),
    "translate_x": Operation(
        _signed(0.45), _affine(lambda picture, by: (1, 0, by * picture.width, 0, 1, 0))
    ),
    "translate_y": Operation(
        _signed(0.45), _affine(lambda picture, by: (1, 0, 0, 0, 1, by * picture.height))
    ),
}
