"""Two crops of one picture, one to be seen whole and one to be predicted from it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from maskmim.config import facts
from maskmim.config.ranges import Fraction, FractionRange, PositiveRange
from maskmim.data.resize import resize
from maskmim.data.transforms import random_crop_box


def pair_shapes(size: tuple[int, int], channels: int, **rest: object) -> dict[str, tuple[int, ...]]:
    """Return the shape of the array of views that the augmentations of this module make."""
    return {"views": (2, *size, channels)}


@facts.augmentation(makes=pair_shapes)
def global_to_local(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    global_scale: FractionRange = (0.1, 1.0),
    local_scale: FractionRange = (0.3, 0.6),
    ratio: PositiveRange = (3 / 4, 4 / 3),
    flip: Fraction = 0.5,
) -> dict[str, np.ndarray]:
    """Return a global crop of the picture and a local crop of that crop, each flipped by itself.

    global_scale: limits of the global crop's share of the picture's area.
    local_scale:  limits of the local crop's share of the area of the resized global crop.
    ratio:        limits of a crop's width / height before it is resized; the local crop is cut from
                  the global one after that is resized to `size`.
    flip:         probability of mirroring a view left and right, drawn for each.

    Returns {'views': [2, h, w, C]} of the picture's type: the global, then the local crop. Both are
    resized with bilinear interpolation.
    Source: CropMAE (arXiv 2403.17823), GlobalToLocal of data/util/CropMAEStrategies.py with the
    limits of scripts/train_cropmae_in.sh (those of train_cropmae_k400.sh: a global crop of 50 to
    100 % of a video's frame). The official class RRC overrides how torchvision draws a crop, but
    its transforms of version 2 (0.17.1 in requirements.txt) do not call that function, so crops
    are torchvision's own, see `transforms.random_crop_box`.
    Differences: see `transforms.random_resized_crop_flip`. The official colour jitter, blur and
    elastic transform of the global view, which no script turns on, are not implemented.
    """
    outer, inner = _nested(rng, image, size, global_scale, local_scale, ratio)
    return _views(rng, outer, inner, flip)


@facts.augmentation(makes=pair_shapes)
def local_to_global(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    global_scale: FractionRange = (0.1, 1.0),
    local_scale: FractionRange = (0.3, 0.6),
    ratio: PositiveRange = (3 / 4, 4 / 3),
    flip: Fraction = 0.5,
) -> dict[str, np.ndarray]:
    """Return the crops of `global_to_local` in the other order: the global one is predicted.

    Keywords as there. Source: LocalToGlobal of data/util/CropMAEStrategies.py.
    """
    outer, inner = _nested(rng, image, size, global_scale, local_scale, ratio)
    return _views(rng, inner, outer, flip)


@facts.augmentation(makes=pair_shapes)
def random_pair(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    *,
    scale: FractionRange = (0.1, 1.0),
    ratio: PositiveRange = (3 / 4, 4 / 3),
    flip: Fraction = 0.5,
) -> dict[str, np.ndarray]:
    """Return two crops of the picture, drawn by themselves, which need not overlap.

    scale: limits of a crop's share of the picture's area. ratio, flip: as in `global_to_local`.
    Source: RandomViews of data/util/CropMAEStrategies.py.
    """
    first, second = (_crop(rng, image, size, scale, ratio) for _ in range(2))
    return _views(rng, first, second, flip)


def _nested(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    global_scale: tuple[float, float],
    local_scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Return a crop of the picture and a crop of that crop, both resized."""
    outer = _crop(rng, image, size, global_scale, ratio)
    return outer, _crop(rng, outer, size, local_scale, ratio)


def _crop(
    rng: np.random.Generator,
    image: np.ndarray,
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> np.ndarray:
    top, left, height, width = random_crop_box(rng, image.shape[:2], scale=scale, ratio=ratio)
    part = image[top : top + height, left : left + width]
    return resize(part, size, resample=Image.Resampling.BILINEAR)


def _views(
    rng: np.random.Generator, first: np.ndarray, second: np.ndarray, flip: float
) -> dict[str, np.ndarray]:
    """Return both crops, each mirrored with a probability."""
    views = (view[:, ::-1] if rng.random() < flip else view for view in (first, second))
    return {"views": np.stack(list(views))}
