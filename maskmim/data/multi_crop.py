"""Several crops of one picture, their colours changed: what self-distillation compares."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from maskmim.data.jittered_crop import ENHANCE
from maskmim.data.records import DataError
from maskmim.data.transforms import crop_box, resize

RATIO = (3 / 4, 4 / 3)  # Limits of a crop's width / height before it is resized.
RADIUS = (0.1, 2.0)  # Limits of the blur in pixels of the crop, whatever its size.


class Look(NamedTuple):
    """With which probabilities a crop is blurred and its bright pixels are turned to dark ones."""

    blur: float
    solarise: float


FIRST, SECOND, LOCAL = Look(1.0, 0.0), Look(0.1, 0.2), Look(0.5, 0.0)


class Jitter(NamedTuple):
    """How far colours are changed: factors of 1 - x to 1 + x, a hue of -x to x turns."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


def multi_crop(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    global_scale: tuple[float, float] = (0.25, 1.0),
    local_scale: tuple[float, float] = (0.05, 0.25),
    local_size: tuple[int, int] = (96, 96),
    local_count: int = 10,
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1),
    jitter_chance: float = 0.8,
    grey_chance: float = 0.2,
) -> dict[str, np.ndarray]:
    """Two large crops and some small ones, each flipped and coloured anew.

    size:         (h, w) of the large crops. local_size, local_count: of the small ones.
    global_scale, local_scale: limits of the crops' shares of the picture's area.
    jitter:       limits of the changes of brightness, contrast, saturation and hue, see `Jitter`.
    jitter_chance, grey_chance: probabilities that colours are changed, and that they are taken out.

    Returns {'global': u8[2, h, w, 3], 'local': u8[local_count, *local_size, 3]}, without 'local'
    where there are none. The first large crop is always blurred, the second seldom, but may be
    solarised; small ones are blurred half of the time.
    Raises DataError unless the picture has three channels.
    Source: DINO (arXiv 2104.14294), DataAugmentationDINO of main_dino.py, and the same of iBOT and
    AttMask; colours change as in torchvision's ColorJitter on Pillow images.
    Differences: see `transforms.random_resized_crop_flip`.
    """
    if image.shape[-1] != 3:
        raise DataError(
            f"multi_crop changes colours, and pictures of {image.shape[-1]} channels have none: "
            "set input.channels to 3"
        )
    colours = Jitter(*jitter), jitter_chance, grey_chance

    def views(looks: tuple[Look, ...], shape: tuple, scale: tuple) -> np.ndarray:
        crops = ((look, _crop(rng, image, tuple(shape), scale)) for look in looks)
        return np.stack([np.asarray(_changed(rng, crop, look, *colours)) for look, crop in crops])

    found = {"global": views((FIRST, SECOND), size, global_scale)}
    if local_count:
        found["local"] = views((LOCAL,) * local_count, local_size, local_scale)
    return found


def _makes(
    size: tuple[int, int],
    channels: int,
    *,
    local_size: tuple[int, int] = (96, 96),
    local_count: int = 10,
    **rest: object,
) -> dict[str, tuple[int, ...]]:
    made = {"global": (2, *size, channels)}
    return made | ({"local": (local_count, *local_size, channels)} if local_count else {})


multi_crop.makes = _makes


def _crop(
    rng: np.random.Generator, image: np.ndarray, size: tuple[int, int], scale: tuple[float, float]
) -> Image.Image:
    """A random part of the picture at a size, mirrored half of the time."""
    top, left, height, width = crop_box(rng, image.shape[:2], scale=scale, ratio=RATIO)
    crop = Image.fromarray(resize(image[top : top + height, left : left + width], size))
    return ImageOps.mirror(crop) if rng.random() < 0.5 else crop


def _changed(
    rng: np.random.Generator,
    crop: Image.Image,
    look: Look,
    jitter: Jitter,
    jitter_chance: float,
    grey_chance: float,
) -> Image.Image:
    """Jitter, grey, blur and solarisation, each with its probability, in this order."""
    if rng.random() < jitter_chance:
        crop = jittered(rng, crop, jitter)
    if rng.random() < grey_chance:
        crop = crop.convert("L").convert("RGB")
    if rng.random() < look.blur:
        crop = crop.filter(ImageFilter.GaussianBlur(rng.uniform(*RADIUS)))
    if rng.random() < look.solarise:
        crop = ImageOps.solarize(crop)
    return crop


def jittered(rng: np.random.Generator, crop: Image.Image, jitter: Jitter) -> Image.Image:
    """Brightness, contrast, saturation and hue changed at random, in a random order."""
    factors = [rng.uniform(max(0.0, 1 - limit), 1 + limit) for limit in jitter[:3]]
    turn = rng.uniform(-jitter.hue, jitter.hue)
    for place in rng.permutation(4):
        if place == 3:
            crop = turned(crop, turn)
        else:
            crop = ENHANCE[place](crop).enhance(factors[place])
    return crop


def turned(crop: Image.Image, turn: float) -> Image.Image:
    """The picture with every hue moved along the colour circle by a share of it."""
    hue, saturation, value = crop.convert("HSV").split()
    moved = (np.asarray(hue).astype(np.int32) + int(turn * 255)) % 256
    bands = (Image.fromarray(moved.astype(np.uint8)), saturation, value)
    return Image.merge("HSV", bands).convert("RGB")
