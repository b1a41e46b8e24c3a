"""Further streams of a photograph made of its own pixels: ours, for lack of real ones.

They let methods of several streams train and be tested on any photographs. A blurred grey picture
stands in for depth: smooth amounts that say where things are; a map of colours for one of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import numpy as np
from PIL import Image, ImageFilter

from maskmim.config import kinds
from maskmim.config.ranges import Limits, NonNegative
from maskmim.data.jittered_crop import check_colours
from maskmim.data.records import DataError
from maskmim.data.resize import resize
from maskmim.data.transforms import random_resized_crop_flip

Levels = Annotated[int, Limits(2, 6)]


def grey_and_colours(
    rng: np.random.Generator,
    arrays: Mapping[str, np.ndarray],
    size: Mapping[str, tuple[int, int]],
    *,
    crop: Annotated[Callable[..., np.ndarray], kinds.AUGMENTATION] = random_resized_crop_flip,
    picture: str = "image",
    grey: str = "grey",
    colours: str = "colours",
    blur: NonNegative = 0.04,
    levels: Levels = 3,
) -> dict[str, np.ndarray]:
    """Crop a photograph, and make a blurred grey picture and a map of its colours of the crop.

    arrays:  {picture: u8[H, W, 3]}. size: of each of the three streams.
    crop:    augmentation brick of one picture; all three streams are made of what it returns.
    picture, grey, colours: names of the streams.
    blur:    standard deviation of the grey picture's Gaussian blur, as a share of its shorter side.
    levels:  of red, green and blue each, so that a map has levels^3 classes, `colour_classes`.

    Returns {picture: u8[h, w, 3], grey: u8[h', w', 1], colours: u8[h'', w'', 1]}.
    Raises DataError for another picture, and for sizes that lack one of the streams.
    """
    if lacking := [name for name in (picture, grey, colours) if name not in size]:
        raise DataError(
            f"grey_and_colours makes {picture}, {grey} and {colours}, but an example has no "
            f"{lacking[0]}: add input.streams.{lacking[0]}, or give the keyword another name"
        )
    check_colours(arrays[picture], "grey_and_colours")
    part = crop(rng, arrays[picture], size[picture])
    radius = blur * min(size[grey])
    blurred = Image.fromarray(part).convert("L").filter(ImageFilter.GaussianBlur(radius))
    return {
        picture: part,
        grey: resize(np.asarray(blurred)[..., None], size[grey]),
        colours: colour_classes(resize(part, size[colours]), levels=levels),
    }


def colour_classes(picture: np.ndarray, *, levels: int) -> np.ndarray:
    """Return which of levels^3 cells of equal size each colour lies in: u8[h, w, 3] -> u8[h, w, 1].

    A class is (red * levels + green) * levels + blue, of levels counted from the darkest.
    """
    red, green, blue = np.moveaxis(picture.astype(np.int32) * levels // 256, -1, 0)
    return ((red * levels + green) * levels + blue).astype(np.uint8)[..., None]
