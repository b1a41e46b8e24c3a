"""Augmentations of all arrays of an example at once: one crop and one flip for everything.

Every brick is `(rng, arrays, *, size, ...) -> arrays`. arrays: {name: [h, w, C] or [h, w]} of the
streams and fields of an example, at any resolutions, all of the same scene. size: {name: size} of
each, of which the first two numbers are rows and columns. The first array that is cropped decides
the part, which is the same share of height and width in all others. An array of another aspect
ratio is a bad file, never stretched; its sides may be rounded by less than a pixel each (ours).

How an array follows the crop, by keywords with names of arrays:
  (none)   amounts, u8 or f32: resized with Pillow's antialiased bicubic filter
  nearest  indices, such as maps of classes: each pixel is one that was there
  flow     displacements f32[h, w, 2] (right, down) in pixels of the array: resized and scaled with
           the pixels, mirrored with the picture
  boxes    f32[n, 4 or more] (left, top, right, bottom, ...) as shares of width and height: moved,
           clipped to the part; one that lies outside becomes 0, 0, 0, 0
  keep     anything else, such as captions: unchanged
An array alone, of an example of one stream, is cropped as one of amounts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from maskmim.config.facts import bound_keywords
from maskmim.config.ranges import Fraction, FractionRange, PositiveFraction, PositiveRange
from maskmim.data.batch_arrays import key_of
from maskmim.data.matrix_resize import resize_by_matrices
from maskmim.data.records import BadImage, DataError
from maskmim.data.resize import resize
from maskmim.data.transforms import random_crop_box
from maskmim.types import Spec

Names = tuple[str, ...]
Arrays = Mapping[str, np.ndarray]
Sizes = Mapping[str, tuple[int, ...]]


class Part(NamedTuple):
    """A part of an example, in pixels of the array that decides it.

    rows, columns: of that array. mirror: whether left and right change places.
    cut: whether the filter sees the pixels of the part alone, or those beside it too.
    """

    top: float
    left: float
    height: float
    width: float
    rows: int
    columns: int
    mirror: bool
    cut: bool

    def within(self, rows: int, columns: int) -> tuple[float, float, float, float]:
        """Return (left, top, right, bottom) in an array of other resolution."""
        down, across = rows / self.rows, columns / self.columns
        right = min((self.left + self.width) * across, float(columns))
        bottom = min((self.top + self.height) * down, float(rows))
        return self.left * across, self.top * down, right, bottom


class Kinds(NamedTuple):
    """Names of the arrays that are no amounts, see the head of this file."""

    nearest: Names
    flow: Names
    boxes: Names
    keep: Names

    def check(self, arrays: Arrays) -> None:
        """Raise DataError for a name that no array has, and for one with two meanings."""
        seen: dict[str, str] = {}
        for kind, names in self._asdict().items():
            for name in names:
                if name not in arrays:
                    raise DataError(
                        f"data.augment.{kind} has {name!r}, the example has "
                        f"{', '.join(arrays)}: name arrays of input.streams or input.fields"
                    )
                if name in seen:
                    raise DataError(
                        f"data.augment.{kind} has {name!r}, as {seen[name]} has: leave it in one"
                    )
                seen[name] = kind


def joint_crop(
    rng: np.random.Generator,
    arrays: np.ndarray | Arrays,
    size: tuple[int, ...] | Sizes,
    *,
    scale: FractionRange = (0.2, 1.0),
    ratio: PositiveRange = (3 / 4, 4 / 3),
    flip: Fraction = 0.5,
    nearest: Names = (),
    flow: Names = (),
    boxes: Names = (),
    keep: Names = (),
) -> np.ndarray | dict[str, np.ndarray]:
    """Crop the same random part of every array, resize each to its size, mirror all or none.

    scale, ratio, flip: as of `transforms.random_resized_crop_flip`, which this equals for one
    array; the same numbers are drawn. nearest, flow, boxes, keep: names, see above.
    Raises DataError for names that no array has and for arrays that cannot be cropped, BadImage
    for one whose aspect ratio is another than that of the first.
    Source: MultiMAE's DataAugmentationForMultiMAE (utils/datasets.py), which crops and flips all
    with one draw. Difference: parts are shares of the picture, so resolutions may differ.
    """

    def draw(shape: tuple[int, int], size: tuple[int, int]) -> Part:
        box = random_crop_box(rng, shape, scale=scale, ratio=ratio)
        return Part(*box, *shape, mirror=bool(rng.random() < flip), cut=True)

    return _cropped(arrays, size, Kinds(nearest, flow, boxes, keep), draw)


def joint_center_crop(
    rng: np.random.Generator,
    arrays: np.ndarray | Arrays,
    size: tuple[int, ...] | Sizes,
    *,
    crop_fraction: PositiveFraction = 0.875,
    nearest: Names = (),
    flow: Names = (),
    boxes: Names = (),
    keep: Names = (),
) -> np.ndarray | dict[str, np.ndarray]:
    """Crop the centre of every array, without randomness, for evaluation.

    crop_fraction: as of `transforms.resize_center_crop`, which this equals for one array. The
    other keywords and what is raised are as of `joint_crop`.
    """

    def centre(shape: tuple[int, int], size: tuple[int, int]) -> Part:
        factor = crop_fraction * min(shape[0] / size[0], shape[1] / size[1])
        height, width = size[0] * factor, size[1] * factor
        top, left = (shape[0] - height) / 2, (shape[1] - width) / 2
        return Part(top, left, height, width, *shape, mirror=False, cut=False)

    return _cropped(arrays, size, Kinds(nearest, flow, boxes, keep), centre)


def check_maps_are_named(augment: Callable[..., Any], spec: Spec, key: str) -> None:
    """Raise DataError where an augmentation of this file would interpolate indices of classes.

    Whole numbers in fields are taken for indices. key: of the augmentation in the config.
    """
    given = bound_keywords(augment)
    if not set(Kinds._fields) <= set(given):
        return
    named = {name for kind in Kinds._fields for name in given[kind]}
    maps = [name for name, one in spec.arrays.items() if one.classes]
    maps += [name for name, field in spec.fields.items() if field.dtype != "float32"]
    if unnamed := [name for name in maps if name not in named]:
        every = ",".join([*given["nearest"], *unnamed])
        fact = key_of(unnamed[0], spec, "classes" if unnamed[0] in spec.arrays else "dtype")
        raise DataError(
            f"{key} would interpolate {', '.join(map(repr, unnamed))}, indices of classes by "
            f"{fact}: set {key}.nearest={every}, or name it in {key}.keep where it is no map"
        )


def _cropped(
    arrays: np.ndarray | Arrays,
    size: tuple[int, ...] | Sizes,
    kinds: Kinds,
    draw: Callable[[tuple[int, int], tuple[int, int]], Part],
) -> np.ndarray | dict[str, np.ndarray]:
    """Return all arrays, each cropped in its way; draw: (shape, size) of the first -> the part."""
    if not isinstance(arrays, Mapping):
        return _cropped({"": arrays}, {"": size}, kinds, draw)[""]
    kinds.check(arrays)
    pictures = [n for n in size if n in arrays and n not in (*kinds.boxes, *kinds.keep)]
    for name in pictures:
        _check_picture(arrays[name], size[name], name)
    if not pictures:
        raise DataError(
            f"no array of {', '.join(arrays)} has rows and columns: data.augment has nothing to "
            "crop; use an augmentation of this kind of data"
        )
    first = pictures[0]
    for name in pictures[1:]:
        if problem := aspect_problem(arrays[first].shape[:2], arrays[name].shape[:2], first):
            hint = "data.augment.keep has the names of what is no map of the picture"
            raise BadImage(f"{problem} ({hint})", stream=name)
    part = draw(arrays[first].shape[:2], tuple(size[first][:2]))
    cropped = {name: _resized(arrays[name], part, size[name], name, kinds) for name in pictures}
    cropped |= {name: _moved(arrays[name], part, name) for name in kinds.boxes}
    return {name: cropped[name] if name in cropped else arrays[name] for name in arrays}


def _check_picture(array: np.ndarray, size: tuple[int, ...], name: str) -> None:
    """Raise DataError for an array without rows and columns, or of a size without them."""
    if array.ndim not in (2, 3) or 0 in array.shape or len(size) < 2:
        raise DataError(
            f"{name!r} of shape {array.shape} cannot be cropped to {tuple(size)}: name it in "
            "data.augment.keep, or use another augmentation"
        )


def aspect_problem(whole: tuple[int, ...], other: tuple[int, ...], first: str) -> str:
    """Return what is wrong where no scale makes (height, width) of one array that of the other.

    whole: of the array named first. Returns '' where there is one.
    A side may be rounded up or down, so it differs by less than a pixel from a share of the other:
    some s has |h - s H| < 1 and |w - s W| < 1 for the smaller (h, w) and the larger (H, W).
    """
    (height, width), (rows, columns) = sorted((whole, other))
    if abs(height * columns - width * rows) < rows + columns:
        return ""
    sizes = [f"{size[0]} x {size[1]}" for size in (other, whole)]
    return (
        f"{sizes[0]} (height x width), but {first} is {sizes[1]}, and nothing is stretched: is one "
        "turned by its EXIF orientation, or of another picture?"
    )


def _resized(
    array: np.ndarray, part: Part, size: tuple[int, ...], name: str, kinds: Kinds
) -> np.ndarray:
    """Return a part of an array, resized to (size[0], size[1]), by the rule of its name."""
    height, width = size[:2]
    plain = array[..., None] if array.ndim == 2 else array
    if name in kinds.nearest:
        made = _nearest(plain, part, (height, width))
    elif plain.dtype.kind not in "f" and plain.dtype != np.uint8:
        raise DataError(
            f"{name!r} has numbers of type {plain.dtype}, which are not interpolated: name it in "
            "data.augment.nearest where they are indices, or decode it to float32"
        )
    else:
        made = _smooth(plain, part, (height, width))
    if name in kinds.flow:
        made = _scaled_flow(made, part, array.shape[:2], name)
    return made[..., 0] if array.ndim == 2 else made


def _smooth(array: np.ndarray, part: Part, size: tuple[int, int]) -> np.ndarray:
    """Resize a part with the bicubic filter; f32 where the numbers are real."""
    array = array if array.dtype == np.uint8 else array.astype(np.float32, copy=False)
    array, box = _cut(array, part)
    if box == (0, 0, array.shape[1], array.shape[0]):
        return resize_by_matrices(array, size, mirror=part.mirror)
    return resize(array, size, box=box, mirror=part.mirror)


def _nearest(array: np.ndarray, part: Part, size: tuple[int, int]) -> np.ndarray:
    """Return the value nearest to the centre of each new pixel, as Pillow's NEAREST does."""
    array, (left, top, right, bottom) = _cut(array, part)
    rows = _nearest_places(array.shape[0], top, bottom, size[0])
    columns = _nearest_places(array.shape[1], left, right, size[1])
    columns = columns[::-1] if part.mirror else columns
    return np.ascontiguousarray(array[np.ix_(rows, columns)])


def _nearest_places(length: int, start: float, stop: float, count: int) -> np.ndarray:
    """Return which of `length` pixels stand for `count` new ones between start and stop."""
    line = Image.fromarray(np.arange(length, dtype=np.int32)[None])
    return np.asarray(line.resize((count, 1), Image.Resampling.NEAREST, (start, 0, stop, 1)))[0]


def _cut(array: np.ndarray, part: Part) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Return what the filter may see, and the part in it: left, top, right, bottom."""
    left, top, right, bottom = part.within(*array.shape[:2])
    if not part.cut:
        return array, (left, top, right, bottom)
    row, column = math.floor(top), math.floor(left)
    inside = array[row : math.ceil(bottom), column : math.ceil(right)]
    return inside, (left - column, top - row, right - column, bottom - row)


def _scaled_flow(flow: np.ndarray, part: Part, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return displacements in the new pixels; those to the right change sign in a mirror."""
    if flow.shape[-1] != 2 or flow.dtype.kind != "f":
        raise DataError(
            f"{name!r} of {flow.dtype} and {flow.shape[-1]} channels is no flow: give float32 of "
            "two, to the right and down, or leave it out of data.augment.flow"
        )
    left, top, right, bottom = part.within(*shape)
    across, down = flow.shape[1] / (right - left), flow.shape[0] / (bottom - top)
    return flow * np.float32([-across if part.mirror else across, down])


def _moved(boxes: np.ndarray, part: Part, name: str) -> np.ndarray:
    """Return boxes as shares of the part's width and height."""
    if boxes.ndim != 2 or boxes.shape[1] < 4 or boxes.dtype.kind != "f":
        raise DataError(
            f"{name!r} of {boxes.dtype}{list(boxes.shape)} has no boxes: give float32 [n, 4 or "
            "more], or leave it out of data.augment.boxes"
        )
    corners = boxes[:, :4]
    if corners.size and not (corners.min() >= -0.01 and corners.max() <= 1.01):
        raise DataError(
            f"{name!r} has corners from {corners.min():g} to {corners.max():g}: boxes are shares "
            "of width and height, from 0 to 1; divide pixels by the picture's size"
        )
    left, top, right, bottom = part.within(1, 1)
    start = np.array([left, top, left, top])
    moved = (corners - start) / np.array([right - left, bottom - top] * 2)
    if part.mirror:
        moved[:, [0, 2]] = 1 - moved[:, [2, 0]]
    moved = np.clip(moved, 0.0, 1.0)
    outside = (moved[:, 0] >= moved[:, 2]) | (moved[:, 1] >= moved[:, 3])
    moved[outside] = 0.0
    return np.concatenate([moved, boxes[:, 4:]], axis=1).astype(boxes.dtype)
