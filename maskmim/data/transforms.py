"""Augmentations of pictures.

Every brick is `(rng, image, *, size, ...) -> image`: rng a numpy Generator of this picture alone,
image u8[H, W, C] or f32[H, W, C] with any number of channels, size (h, w), result [h, w, C] of the
same type.
"""

from __future__ import annotations

import math

import numpy as np

from maskmim.config.ranges import Fraction, FractionRange, PositiveFraction, PositiveRange
from maskmim.data.matrix_resize import resize_by_matrices
from maskmim.data.resize import resize


def random_resized_crop_flip(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    scale: FractionRange = (0.2, 1.0),
    ratio: PositiveRange = (3 / 4, 4 / 3),
    flip: Fraction = 0.5,
) -> np.ndarray:
    """Crop a random part, resize it with bicubic interpolation and mirror it half of the time.

    scale: limits of the part's share of the area. ratio: limits of its width / height before
    resizing. flip: probability of mirroring left and right.
    Source: MAE's pretraining transform (main_pretrain.py), torchvision's RandomResizedCrop with its
    sampling rule. Difference: `resize_by_matrices` rounds one value in a hundred to a neighbouring
    level; parts at least six times too large are first shrunk by a whole factor, which is faster
    and hardly visible.
    """
    top, left, height, width = random_crop_box(rng, image.shape[:2], scale=scale, ratio=ratio)
    part = image[top : top + height, left : left + width]
    return resize_by_matrices(part, size, mirror=rng.random() < flip)


def resize_center_crop(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    crop_fraction: PositiveFraction = 0.875,
) -> np.ndarray:
    """Crop the centre of the picture, without randomness, for evaluation.

    Takes the largest centred part with the aspect ratio of `size`, reduces it by crop_fraction and
    resizes it with bicubic interpolation. For a square size this is MAE's evaluation transform:
    resize the short side to size / crop_fraction (256 for 224), then crop the centre.
    Difference: resizing and cropping are one operation, equal up to rounding of the position.
    """
    rows, columns = image.shape[:2]
    factor = crop_fraction * min(rows / size[0], columns / size[1])
    height, width = size[0] * factor, size[1] * factor
    top, left = (rows - height) / 2, (columns - width) / 2
    return resize(image, size, box=(left, top, left + width, top + height))


def random_crop_box(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    """Draw a random part of a picture (rows, columns): top, left, height, width in whole pixels.

    Tries ten times with a uniform area in `scale` and a uniform logarithm of the ratio; then takes
    the largest centred part whose ratio is allowed.
    Source: torchvision's RandomResizedCrop.get_params.
    """
    rows, columns = shape
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(10):
        area = rows * columns * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(low, high))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= columns and 0 < height <= rows:
            top = int(rng.integers(0, rows - height + 1))
            left = int(rng.integers(0, columns - width + 1))
            return top, left, height, width
    width, height = columns, rows
    if columns / rows < ratio[0]:
        height = round(columns / ratio[0])
    elif columns / rows > ratio[1]:
        width = round(rows * ratio[1])
    return (rows - height) // 2, (columns - width) // 2, height, width
