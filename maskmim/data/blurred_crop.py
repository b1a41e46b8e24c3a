"""Crops of a blurred picture and of the sharp one, at the same place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import Fraction, FractionRange, Positive, PositiveFraction, PositiveRange
from maskmim.data.transforms import random_resized_crop_flip, resize_center_crop

Crop = Callable[[np.random.Generator, np.ndarray, tuple[int, int]], np.ndarray]


def pair_shapes(size: tuple[int, int], channels: int, **rest: object) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays that the augmentations of this module make, by name."""
    return dict.fromkeys(("image", "sharp"), (*size, channels))


@facts.augmentation(makes=pair_shapes)
def blurred_crop(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    sigma: Positive = 1.1,
    scale: FractionRange = (0.2, 1.0),
    ratio: PositiveRange = (3 / 4, 4 / 3),
    flip: Fraction = 0.5,
) -> dict[str, np.ndarray]:
    """Return the same random crop of the blurred picture and of the picture itself.

    sigma:              of the blur, in pixels of the whole picture, see `gaussian_blur`.
    scale, ratio, flip: of the crop, see `transforms.random_resized_crop_flip`.
    Returns {'image': the blurred crop, 'sharp': the other}, [h, w, C] of the picture's type.
    Source: Deblurring MAE (arXiv 2306.08249), blurred_images.py and CorruptDataset of
    util/dataset_us.py, MembrAI/DeblurringMIM: pictures are blurred once, before the crop.
    Difference: the official loader ties both crops by seeding torch with the current time twice.
    """
    crop = partial(random_resized_crop_flip, scale=scale, ratio=ratio, flip=flip)
    return _pair(rng, image, size, sigma, crop)


@facts.augmentation(makes=pair_shapes)
def blurred_center_crop(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    sigma: Positive = 1.1,
    crop_fraction: PositiveFraction = 0.875,
) -> dict[str, np.ndarray]:
    """Return the centre of the blurred picture and of the picture itself, for evaluation.

    sigma: see `blurred_crop`. crop_fraction: see `transforms.resize_center_crop`.
    """
    return _pair(rng, image, size, sigma, partial(resize_center_crop, crop_fraction=crop_fraction))


def _pair(
    rng: np.random.Generator, image: np.ndarray, size: tuple[int, int], sigma: float, crop: Crop
) -> dict[str, np.ndarray]:
    """Crop both pictures with the same random numbers."""
    again = np.random.default_rng(rng.integers(0, 2**63))
    state = again.bit_generator.state
    blurred = crop(again, gaussian_blur(image, sigma), size)
    again.bit_generator.state = state
    return {"image": blurred, "sharp": crop(again, image, size)}


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur a picture [H, W, C] with a Gaussian kernel; u8 is rounded, f32 is not.

    sigma: in pixels. The kernel ends at three sigmas, rounded (radius 4 for sigma 1.1); the picture
    is mirrored about the centres of its outermost pixels.
    Source: cv2.GaussianBlur(image, (0, 0), sigma) on 8-bit pictures. Difference: OpenCV rounds the
    kernel to fixed point, so that a level may differ by 1.
    """
    radius = (round(6 * sigma + 1) | 1) // 2
    kernel = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).astype(np.float32)
    columns = _blur_rows(image.astype(np.float32), kernel).swapaxes(0, 1)
    values = _blur_rows(columns, kernel).swapaxes(0, 1)
    return np.rint(values).astype(np.uint8) if image.dtype == np.uint8 else values


def _blur_rows(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Average each row with those above and below it, by the weights of a kernel of odd length."""
    rows, radius = len(values), len(kernel) // 2
    padded = np.pad(values, ((radius, radius), (0, 0), (0, 0)), mode="reflect")
    return sum(weight * padded[row : row + rows] for row, weight in enumerate(kernel))
