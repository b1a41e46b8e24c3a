"""Synthetic scenes: cut-outs of the embedded photographs on another photograph, with exact maps.

They need no file from outside the package. Everything in a picture is a real photograph, but its
composition is not: outlines are random smooth shapes that do not follow any object, sizes follow
an invented distance, and the blur of distant parts is drawn. Results on scenes compare encoders
with each other and do not carry over to real segmentation or depth.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from maskmim.config.ranges import (
    Ascending,
    Limits,
    NonNegative,
    Positive,
    PositiveInt,
    Seed,
    Size2D,
)
from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.data.records import DataError, Example, Records, manifest_digest
from maskmim.data.resize import resize_to_cover
from maskmim.data.smooth_shapes import opacity, random_outline

MOST_OBJECTS = 4
Objects = Annotated[tuple[PositiveInt, PositiveInt], Ascending()]
Side = Annotated[int, Limits(16, 4096)]

# Distances, in units of the nearest possible one: of objects, and of the background.
NEAR, FAR, BACKGROUND = 1.0, 3.0, 4.0
# Limits of an object's centre, as shares of height and width.
CENTRE = (0.15, 0.85)
# The coarse classes with more than 100 training photographs.
EIGHT = ("Apple", "Melon", "Pear", "Juice", "Milk", "Yoghurt", "Pepper", "Tomato")


class Layout(NamedTuple):
    """How scenes are composed; see `scenes`, whose keywords these are.

    objects: limits of their number. diameter: the largest of an object at distance 1, as a share of
    the scene's shorter side. blur: standard deviation per unit of distance behind the nearest, as
    a share of that side.
    """

    objects: tuple[int, int]
    diameter: float
    blur: float


class Placed(NamedTuple):
    """An object of a scene: the photograph, its place, and the number of its instance."""

    photograph: int
    instance: int
    distance: float
    centre: tuple[float, float]
    outline: np.ndarray


class SceneRecords:
    """Scenes with maps of each pixel, the same at every reading; see `scenes`.

    photographs: records with pictures and the label set 'coarse'. names: of the classes that are
    shown, () for all.
    Raises DataError for objects that a scene cannot have, and for unknown names.
    """

    def __init__(
        self,
        photographs: Records,
        *,
        count: int,
        size: tuple[int, int],
        names: tuple[str, ...],
        layout: Layout,
        seed: int,
    ):
        if layout.objects[1] > MOST_OBJECTS:
            raise DataError(f"objects={layout.objects}: a scene has at most {MOST_OBJECTS}")
        known = photographs.labels["coarse"]
        if unknown := [name for name in names if name not in known]:
            raise DataError(f"names={','.join(unknown)}: the classes are {', '.join(known)}")
        title = f"scenes of {photographs.fingerprint}, {names}, {layout}, {size}, {seed}"
        self.labels: dict[str, tuple[str, ...]] = {}
        self.fingerprint = manifest_digest([(title, count)])
        self.classes = tuple(names) or tuple(known)
        self._photographs, self._count = photographs, count
        self._size, self._layout = tuple(size), layout
        self._shown = _by_class(photographs, self.classes) if names else None
        # Scenes of other photographs must have other outlines and places, too.
        self._seed = int(photographs.fingerprint[:15], 16), seed

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self._count:
            raise IndexError(f"record {index} of {self._count}")
        rng = np.random.default_rng([*self._seed, index])
        behind = self._choose(rng)
        placed = self._draw(rng)
        picture = resize_to_cover(self._picture(behind), self._size)
        arrays = {
            "image": self._blurred(picture, BACKGROUND).astype(np.float32),
            "classes": np.full(self._size, self._class_of(behind), np.uint8),
            "instances": np.zeros(self._size, np.uint8),
            "order": np.zeros(self._size, np.uint8),
            "alpha": np.zeros(self._size, np.float32),
            "depth": np.full(self._size, BACKGROUND, np.float32),
        }
        for order, thing in enumerate(placed, start=1):
            self._paint(arrays, thing, order)
        arrays["image"] = np.rint(arrays["image"]).astype(np.uint8)
        arrays["alpha"] = np.rint(255 * arrays["alpha"]).astype(np.uint8)
        maps = {name: array[..., None] for name, array in arrays.items() if name != "image"}
        return Example({"image": arrays["image"], **maps}, {})

    def name(self, index: int) -> str:
        """Return the number of a scene."""
        return f"scene {index}"

    def _choose(self, rng: np.random.Generator) -> int:
        """Draw a photograph: of all, or of a class that is drawn before."""
        if self._shown is None:
            return int(rng.integers(len(self._photographs)))
        return int(rng.choice(self._shown[rng.integers(len(self._shown))]))

    def _class_of(self, photograph: int) -> int:
        label = self._photographs[photograph].labels["coarse"]
        return self.classes.index(self._photographs.labels["coarse"][label])

    def _picture(self, photograph: int) -> np.ndarray:
        return decode(self._photographs[photograph].encoded, channels=3)

    def _blurred(self, picture: np.ndarray, distance: float) -> np.ndarray:
        """Blur a picture u8[h, w, 3] as a lens does whose focus is at the distance NEAR."""
        radius = self._layout.blur * min(self._size) * (distance - NEAR)
        return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))

    def _draw(self, rng: np.random.Generator) -> list[Placed]:
        """Draw the objects of a scene, the farthest first."""
        low, high = self._layout.objects
        drawn = [
            Placed(
                self._choose(rng),
                instance,
                float(rng.uniform(NEAR, FAR)),
                tuple(rng.uniform(*CENTRE, 2) * self._size),
                random_outline(rng),
            )
            for instance in range(1, int(rng.integers(low, high + 1)) + 1)
        ]
        return sorted(drawn, key=lambda thing: -thing.distance)

    def _paint(self, arrays: dict[str, np.ndarray], thing: Placed, order: int) -> None:
        """Paint an object over what is behind it, in place."""
        radius = 0.5 * self._layout.diameter * min(self._size) / thing.distance
        cover = opacity(thing.outline, self._size, thing.centre, radius)
        side = max(2, round(2 * radius))
        filling = resize_to_cover(self._picture(thing.photograph), (side, side))
        pixels = _pasted(self._blurred(filling, thing.distance), self._size, thing.centre)
        arrays["image"] += cover[..., None] * (pixels - arrays["image"])
        arrays["alpha"] = np.maximum(arrays["alpha"], cover)
        inside = cover >= 0.5
        label = self._class_of(thing.photograph)
        values = {"classes": label, "instances": thing.instance, "order": order}
        for name, value in (values | {"depth": thing.distance}).items():
            arrays[name][inside] = value


def scenes(
    *,
    split: str,
    count: PositiveInt = 512,
    size: tuple[Side, Side] = (96, 128),
    names: tuple[str, ...] = (),
    objects: Objects = (1, MOST_OBJECTS),
    diameter: Positive = 1.3,
    blur: NonNegative = 0.008,
    seed: Seed = 0,
) -> SceneRecords:
    """Return collages of the embedded photographs, with a map of everything in them.

    split:   of the photographs, as in `grocery.grocery`: scenes of 'train' and of 'test' share no
             photograph, outline or place. count: number of scenes.
    size:    (height, width) of a scene. objects: limits of their number, at most 4.
    names:   coarse classes of the photographs, all as often as each other, such as EIGHT; () for
             all 43, each as often as it was photographed.
    diameter, blur: of an object at distance 1, and of what is farther; see `Layout`.
    seed:    other seeds compose other scenes of the same photographs.

    An example holds {name: array}, to be decoded by `decode_each.each`:
      image      u8[H, W, 3]
      classes    u8[H, W, 1] class of the photograph that the pixel shows, objects and background
                 alike: index in `SceneRecords.classes`, which are `names` or all 43
      instances  u8[H, W, 1] 0 of the background, then a number for each object
      order      u8[H, W, 1] 0 of the background, 1 of the farthest object, and so on
      alpha      u8[H, W, 1] opacity of all objects together, soft at their outlines
      depth      f32[H, W, 1] distance: objects 1 to 3, background 4; an object's size is in
                 inverse proportion to it, and its blur grows with it, from none at 1
    A pixel belongs to an object that covers at least half of it. Objects may hide each other.
    Scene i depends on the photographs, the keywords and i alone. All numbers are ours.
    Raises DataError for an unknown name, and for one that the split has no photograph of.
    """
    photographs = grocery(split=split)
    layout = Layout(tuple(objects), diameter, blur)
    given = {"names": tuple(names), "layout": layout, "seed": seed}
    return SceneRecords(photographs, count=count, size=size, **given)


def class_scenes(
    *,
    split: str,
    count: PositiveInt = 512,
    size: tuple[Side, Side] = (96, 128),
    names: tuple[str, ...] = EIGHT,
    seed: Seed = 0,
) -> SceneRecords:
    """Return scenes to find classes in: one or two large objects, sharp at every distance.

    Keywords are those of `scenes`; names=() for all 43 classes.
    """
    layout = {"objects": (1, 2), "diameter": 2.5, "blur": 0.0}
    return scenes(split=split, count=count, size=size, names=names, seed=seed, **layout)


def _by_class(photographs: Records, names: tuple[str, ...]) -> list[np.ndarray]:
    """Return the indices of the photographs of each class."""
    coarse = photographs.labels["coarse"]
    labels = np.array([photographs[i].labels["coarse"] for i in range(len(photographs))])
    found = [np.flatnonzero(labels == coarse.index(name)) for name in names]
    if lacking := [name for name, some in zip(names, found, strict=True) if not len(some)]:
        raise DataError(f"names={','.join(lacking)}: this split has no photograph of them")
    return found


def _pasted(picture: np.ndarray, size: Size2D, centre: tuple[float, float]) -> np.ndarray:
    """Return f32[*size, 3], zeros around a picture whose middle is at the nearest pixel."""
    canvas = np.zeros((*size, 3), np.float32)
    top, left = (round(at - side / 2) for at, side in zip(centre, picture.shape[:2], strict=True))
    rows = slice(max(top, 0), min(top + len(picture), size[0]))
    columns = slice(max(left, 0), min(left + picture.shape[1], size[1]))
    canvas[rows, columns] = picture[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
    return canvas
