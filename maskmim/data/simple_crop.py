"""DeiT III's simple random crop and three-augment, and the two views of LUT that they make."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from maskmim.config import facts
from maskmim.config.ranges import Fraction, HueShift, Limits
from maskmim.data.jittered_crop import check_colours
from maskmim.data.multi_crop import RADIUS, Jitter, jitter_colours
from maskmim.data.resize import resize

# Pixels around a picture; more of them is a slip.
Padding = Annotated[int, Limits(0, 4096)]


def simple_random_crop(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    padding: Padding = 4,
    flip: Fraction = 0.5,
) -> np.ndarray:
    """Resize the picture until it covers the size, crop a random place, mirror half of the time.

    padding: pixels that are added on every side before the crop, a reflection of the border.
    flip:    probability of mirroring left and right.
    Works with any number of channels. Source: simple random crop of DeiT III (arXiv 2204.07118),
    TwoGlobalViewAugmentation of main_lut.py, naver-ai/lut. Difference: see `resize.resize`.
    """
    return crop_and_flip(rng, cover(image, size), size, padding, flip)


def cover(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a picture [H, W, C], its shape kept, to the smallest that covers size (h, w).

    The longer side is rounded down, as torchvision's Resize does.
    """
    rows, columns = image.shape[:2]
    height, width = size
    if rows * width < columns * height:  # too wide: the height decides
        return resize(image, (height, max(width, height * columns // rows)))
    return resize(image, (max(height, width * rows // columns), width))


def crop_and_flip(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    padding: int,
    flip: float,
) -> np.ndarray:
    """Crop size (h, w) at a uniform place of the padded picture; mirror with probability flip."""
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode="reflect")
    height, width = size
    top = int(rng.integers(0, padded.shape[0] - height + 1))
    left = int(rng.integers(0, padded.shape[1] - width + 1))
    crop = padded[top : top + height, left : left + width]
    return np.ascontiguousarray(crop[:, ::-1] if rng.random() < flip else crop)


def three_augment(rng: np.random.Generator, crop: Image.Image) -> Image.Image:
    """Make a picture grey, solarise it or blur it, each with the same probability.

    Source: DeiT III (arXiv 2204.07118); three_augment of main_lut.py, naver-ai/lut.
    """
    choice = rng.integers(3)
    if choice == 0:
        return crop.convert("L").convert("RGB")
    if choice == 1:
        return ImageOps.solarize(crop)
    return crop.filter(ImageFilter.GaussianBlur(rng.uniform(*RADIUS)))


def two_views_shapes(
    size: tuple[int, int], channels: int, **rest: object
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays that `two_views` makes, by name."""
    return {"views": (2, *size, channels)}


@facts.augmentation(makes=two_views_shapes)
def two_views(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    padding: Padding = 4,
    flip: Fraction = 0.5,
    jitter: tuple[Fraction, Fraction, Fraction, HueShift] = (0.4, 0.4, 0.2, 0.1),
    jitter_chance: Fraction = 0.8,
) -> dict[str, np.ndarray]:
    """Return two simple random crops, of which the second has other colours.

    padding, flip: of both crops, each with its own place, see `simple_random_crop`.
    jitter, jitter_chance: limits of the changes of brightness, contrast, saturation and hue of the
    second view, see `multi_crop.Jitter`, and their probability; `three_augment` follows.
    Returns {'views': u8[2, h, w, 3]}. Raises DataError unless the picture has three channels of 8
    bits.
    Source: TwoGlobalViewAugmentation of main_lut.py, naver-ai/lut; jitter as in torchvision's
    ColorJitter on Pillow images. Difference: the picture is resized once for both views.
    """
    check_colours(image, "two_views")
    covering = cover(image, size)
    first, second = (crop_and_flip(rng, covering, size, padding, flip) for _ in range(2))
    changed = Image.fromarray(second)
    if rng.random() < jitter_chance:
        changed = jitter_colours(rng, changed, Jitter(*jitter))
    return {"views": np.stack([first, np.asarray(three_augment(rng, changed))])}
