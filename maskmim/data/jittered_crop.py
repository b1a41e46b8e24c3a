"""Random crops with colour jitter."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance

from maskmim.config.ranges import Fraction, FractionRange
from maskmim.data.records import DataError
from maskmim.data.transforms import random_resized_crop_flip
from maskmim.errors import count_of

ENHANCE = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def check_colours(image: np.ndarray, augmentation: str) -> None:
    """Raise DataError for a picture whose colours an augmentation cannot change."""
    if image.shape[-1] == 3 and image.dtype == np.uint8:
        return
    raise DataError(
        f"{augmentation} changes colours: it needs pictures of 3 channels of 8 bits, not "
        f"{count_of(image.shape[-1], 'channel')} of {image.dtype}: set input.channels to 3 and "
        "input.dtype to uint8 (with maskmim.data.decode.picture), or choose an augmentation that "
        "serves any channels, such as maskmim.data.transforms.random_resized_crop_flip"
    )


def jittered_crop_flip(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    jitter: tuple[Fraction, Fraction, Fraction] = (0.4, 0.4, 0.4),
    scale: FractionRange = (0.2, 1.0),
    flip: Fraction = 0.5,
) -> np.ndarray:
    """Jitter the colours of the picture, then crop as `transforms.random_resized_crop_flip`.

    jitter: limits x of the changes of brightness, contrast and saturation, in a random order: each
    is multiplied by a factor from 1 - x to 1 + x.
    Raises DataError unless the picture has three channels of 8 bits.
    Source: DataAugmentationForBEiT of datasets.py, microsoft/unilm, folders beit and beit2, with
    torchvision's ColorJitter on Pillow images, also before the crop.
    """
    check_colours(image, "jittered_crop_flip")
    picture = Image.fromarray(image)
    factors = [rng.uniform(max(0.0, 1.0 - limit), 1.0 + limit) for limit in jitter]
    for index in rng.permutation(len(ENHANCE)):
        picture = ENHANCE[index](picture).enhance(factors[index])
    return random_resized_crop_flip(rng, np.asarray(picture), size, scale=scale, flip=flip)
