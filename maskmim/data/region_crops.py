"""One crop of a photograph and its map of segments, and the regions that are drawn of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from maskmim.config.ranges import Fraction, FractionRange, PositiveFraction, PositiveRange
from maskmim.data.joint_crop import joint_center_crop, joint_crop
from maskmim.data.records import DataError

Arrays = Mapping[str, np.ndarray]
Sizes = Mapping[str, tuple[int, ...]]


def crop_regions(
    rng: np.random.Generator,
    arrays: Arrays,
    size: Sizes,
    *,
    field: str = "regions",
    scale: FractionRange = (0.2, 1.0),
    ratio: PositiveRange = (3 / 4, 4 / 3),
    flip: Fraction = 0.5,
) -> dict[str, np.ndarray]:
    """Crop a photograph and its segments as one, and draw regions among the crop's segments.

    arrays: {stream: u8[H, W, C], field: segments i32[H, W]}, as `segments.segmented` makes them.
    size:   of the stream (rows, columns), of the field (regions, rows, columns).
    scale, ratio, flip: as of `joint_crop`.
    Returns the crop and {field: bool[regions, rows, columns]}, see `drawn_regions`. Raises
    DataError for a field of another form.
    """

    def crop(arrays: Arrays, sizes: Sizes) -> dict[str, np.ndarray]:
        kinds = {"scale": scale, "ratio": ratio, "flip": flip, "nearest": (field,)}
        return joint_crop(rng, arrays, sizes, **kinds)

    return _cropped(rng, arrays, size, field, crop)


def center_regions(
    rng: np.random.Generator,
    arrays: Arrays,
    size: Sizes,
    *,
    field: str = "regions",
    crop_fraction: PositiveFraction = 0.875,
) -> dict[str, np.ndarray]:
    """Crop the centre, for evaluation; the regions are drawn as in `crop_regions`.

    crop_fraction: as of `joint_center_crop`.
    """

    def crop(arrays: Arrays, sizes: Sizes) -> dict[str, np.ndarray]:
        return joint_center_crop(rng, arrays, sizes, crop_fraction=crop_fraction, nearest=(field,))

    return _cropped(rng, arrays, size, field, crop)


def drawn_regions(rng: np.random.Generator, labels: np.ndarray, count: int) -> np.ndarray:
    """Draw `count` of the segments of a map: whole numbers [H, W] -> bool[count, H, W].

    A region is True inside. No segment is drawn twice where there are enough; otherwise all are
    repeated equally often, and of the repeated ones `count` are drawn.
    Source: _process_mask of pretrain/dataset/pretrain.py, facebookresearch/r-mae.
    """
    values = np.unique(labels)
    repeated = np.tile(values, -(-count // len(values)))
    chosen = rng.permutation(repeated)[:count]
    return labels == chosen[:, None, None]


def _cropped(
    rng: np.random.Generator,
    arrays: Arrays,
    size: Sizes,
    field: str,
    crop: Callable[[Arrays, Sizes], dict[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """Return the arrays after a crop, the field as maps of drawn regions."""
    if field not in size or len(size[field]) != 3:
        raise DataError(
            f"there is no shape of regions, rows and columns for {field!r}: set "
            f"input.fields.{field}.shape, such as 8,224,224"
        )
    count, *sides = size[field]
    cropped = crop(arrays, {**size, field: tuple(sides)})
    labels = cropped[field]
    labels = labels[..., 0] if labels.ndim == 3 else labels
    return {**cropped, field: drawn_regions(rng, labels, count)}
