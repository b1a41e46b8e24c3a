"""Random crops with colour jitter."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance

from maskmim.data.records import DataError
from maskmim.data.transforms import random_resized_crop_flip

ENHANCE = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def jittered_crop_flip(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    jitter: tuple[float, float, float] = (0.4, 0.4, 0.4),
    scale: tuple[float, float] = (0.2, 1.0),
    flip: float = 0.5,
) -> np.ndarray:
    """Jitter the colours of the picture, then crop as `transforms.random_resized_crop_flip`.

    jitter: limits x of the changes of brightness, contrast and saturation, in a random order: each
    is multiplied by a factor from 1 - x to 1 + x.
    Raises DataError unless the picture has three channels.
    Source: DataAugmentationForBEiT of datasets.py, microsoft/unilm, folders beit and beit2, with
    torchvision's ColorJitter on Pillow images, also before the crop.
    """
    if image.shape[-1] != 3:
        raise DataError(
            f"jittered_crop_flip needs pictures of 3 channels, not {image.shape[-1]} channels: set "
            "input.channels to 3"
        )
    picture = Image.fromarray(image)
    factors = [rng.uniform(max(0.0, 1.0 - limit), 1.0 + limit) for limit in jitter]
    for index in rng.permutation(len(ENHANCE)):
        picture = ENHANCE[index](picture).enhance(factors[index])
    return random_resized_crop_flip(rng, np.asarray(picture), size, scale=scale, flip=flip)
