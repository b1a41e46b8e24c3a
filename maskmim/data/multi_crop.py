"""Several crops of one picture with colour jitter: for self-distillation, and pairs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from maskmim.config import facts
from maskmim.config.ranges import Fraction, FractionRange, HueShift, NonNegativeInt, Size2D
from maskmim.data.jittered_crop import ENHANCE, check_colours
from maskmim.data.matrix_resize import resize_by_matrices
from maskmim.data.records import DataError
from maskmim.data.transforms import random_crop_box

RATIO = (3 / 4, 4 / 3)  # Limits of a crop's width / height before it is resized.
RADIUS = (0.1, 2.0)  # Limits of the blur in pixels of the crop, whatever its size.


class Finish(NamedTuple):
    """The probabilities that a crop is blurred and that it is solarised."""

    blur: float
    solarise: float


class Jitter(NamedTuple):
    """Limits x of colour changes: factors from 1 - x to 1 + x, a hue shift from -x to x turns."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


def multi_crop_shapes(
    size: tuple[int, int],
    channels: int,
    *,
    local_size: tuple[int, int] = (96, 96),
    local_count: int = 10,
    **rest: object,
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays that `multi_crop` makes, by name."""
    shapes = {"global": (2, *size, channels)}
    return shapes | ({"local": (local_count, *local_size, channels)} if local_count else {})


@facts.augmentation(makes=multi_crop_shapes)
def multi_crop(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    global_scale: FractionRange = (0.25, 1.0),
    local_scale: FractionRange = (0.05, 0.25),
    local_size: Size2D = (96, 96),
    local_count: NonNegativeInt = 10,
    jitter: tuple[Fraction, Fraction, Fraction, HueShift] = (0.4, 0.4, 0.2, 0.1),
    jitter_chance: Fraction = 0.8,
    grey_chance: Fraction = 0.2,
    blur_chances: tuple[Fraction, Fraction, Fraction] = (1.0, 0.1, 0.5),
    solarise_chance: Fraction = 0.2,
) -> dict[str, np.ndarray]:
    """Return two large crops and several small ones, each with its own flip and colour jitter.

    size:         (h, w) of the large crops. local_size, local_count: of the small ones.
    global_scale, local_scale: limits of the crops' shares of the picture's area.
    jitter:       limits of the changes of brightness, contrast, saturation and hue, see `Jitter`.
    jitter_chance, grey_chance: probabilities of colour jitter, and of conversion to grey.
    blur_chances: probabilities that the first large crop, the second, and a small one are blurred.
    solarise_chance: probability that the second large crop is solarised.

    Returns {'global': u8[2, h, w, 3], 'local': u8[local_count, *local_size, 3]}, without 'local'
    where local_count is 0.
    Raises DataError unless the picture has three channels of 8 bits.
    Source: DINO (arXiv 2104.14294), DataAugmentationDINO of main_dino.py, and the same of iBOT and
    AttMask; colours change as in torchvision's ColorJitter on Pillow images.
    Differences: see `transforms.random_resized_crop_flip`.
    """
    check_colours(image, "multi_crop")
    colours = Jitter(*jitter), jitter_chance, grey_chance
    first, second, small = blur_chances
    finishes = Finish(first, 0.0), Finish(second, solarise_chance)

    def views(finishes: tuple[Finish, ...], shape: tuple, scale: tuple) -> np.ndarray:
        crops = ((finish, _crop(rng, image, tuple(shape), scale)) for finish in finishes)
        return np.stack([np.asarray(_augment(rng, crop, f, *colours)) for f, crop in crops])

    arrays = {"global": views(finishes, size, global_scale)}
    if local_count:
        arrays["local"] = views((Finish(small, 0.0),) * local_count, local_size, local_scale)
    return arrays


def crop_pair_shapes(
    size: tuple[int, int], channels: int, **rest: object
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays that `crop_pair` makes, by name."""
    return {"views": (2, *size, channels)}


@facts.augmentation(makes=crop_pair_shapes)
def crop_pair(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    scale: FractionRange = (0.08, 1.0),
    jitter: tuple[Fraction, Fraction, Fraction, HueShift] = (0.4, 0.4, 0.2, 0.1),
    jitter_chances: tuple[Fraction, Fraction] = (0.8, 0.8),
    grey_chances: tuple[Fraction, Fraction] = (0.2, 0.2),
    blur_chances: tuple[Fraction, Fraction] = (1.0, 0.0),
    solarise_chances: tuple[Fraction, Fraction] = (0.0, 0.2),
) -> dict[str, np.ndarray]:
    """Return two crops of a picture, or one of each of two frames, with flips and colour jitter.

    image:  u8[H, W, 3], or frames u8[2, H, W, 3] as `clips.spread_frames` takes them.
    scale:  limits of both crops' shares of the picture's area. jitter: as in `multi_crop`.
    jitter_chances, grey_chances, blur_chances, solarise_chances: probabilities, of the first and of
            the second crop.
    Returns {'views': u8[2, h, w, 3]}. Raises DataError unless there are three channels of 8 bits,
    and for another number of frames.
    Source: image_pipeline_1 and _2 of pretrain.py, jeffhernandez1995/ViC-MAE, with FFCV's
    transforms, here torchvision's on Pillow images. Differences: the blur is drawn for each crop,
    there for a batch, after normalisation; jitter changes in a random order.
    """
    check_colours(image, "crop_pair")
    frames = image if image.ndim == 4 else np.stack([image, image])
    if len(frames) != 2:
        raise DataError(
            f"crop_pair takes a picture or two frames, not {len(frames)}: set data.decode to "
            "maskmim.data.clips.spread_frames with frames=2"
        )
    chances = zip(jitter_chances, grey_chances, blur_chances, solarise_chances, strict=True)
    views = []
    for frame, (jittered, grey, blur, solarise) in zip(frames, chances, strict=True):
        crop, finish = _crop(rng, frame, tuple(size), scale), Finish(blur, solarise)
        views.append(np.asarray(_augment(rng, crop, finish, Jitter(*jitter), jittered, grey)))
    return {"views": np.stack(views)}


def _crop(
    rng: np.random.Generator, image: np.ndarray, size: tuple[int, int], scale: tuple[float, float]
) -> Image.Image:
    """Crop a random part of the picture, resize it and mirror it half of the time."""
    top, left, height, width = random_crop_box(rng, image.shape[:2], scale=scale, ratio=RATIO)
    part = image[top : top + height, left : left + width]
    crop = Image.fromarray(resize_by_matrices(part, size))
    return ImageOps.mirror(crop) if rng.random() < 0.5 else crop


def _augment(
    rng: np.random.Generator,
    crop: Image.Image,
    finish: Finish,
    jitter: Jitter,
    jitter_chance: float,
    grey_chance: float,
) -> Image.Image:
    """Apply jitter, grey, blur and solarisation in this order, each with its probability."""
    if rng.random() < jitter_chance:
        crop = jitter_colours(rng, crop, jitter)
    if rng.random() < grey_chance:
        crop = crop.convert("L").convert("RGB")
    if rng.random() < finish.blur:
        crop = crop.filter(ImageFilter.GaussianBlur(rng.uniform(*RADIUS)))
    if rng.random() < finish.solarise:
        crop = ImageOps.solarize(crop)
    return crop


def jitter_colours(rng: np.random.Generator, crop: Image.Image, jitter: Jitter) -> Image.Image:
    """Change brightness, contrast, saturation and hue at random, in a random order."""
    factors = [rng.uniform(max(0.0, 1 - limit), 1 + limit) for limit in jitter[:3]]
    turn = rng.uniform(-jitter.hue, jitter.hue)
    for index in rng.permutation(4):
        if index == 3:
            crop = rotate_hue(crop, turn)
        else:
            crop = ENHANCE[index](crop).enhance(factors[index])
    return crop


def rotate_hue(crop: Image.Image, turn: float) -> Image.Image:
    """Rotate every hue by a share `turn` of the colour circle."""
    hue, saturation, value = crop.convert("HSV").split()
    rotated = (np.asarray(hue).astype(np.int32) + int(turn * 255)) % 256
    bands = (Image.fromarray(rotated.astype(np.uint8)), saturation, value)
    return Image.merge("HSV", bands).convert("RGB")
