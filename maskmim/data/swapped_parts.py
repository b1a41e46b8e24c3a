"""Photographs with a map of four parts, one of which may be swapped for that of another photograph.

They stand in for faces and face forgeries, which cannot be shipped, and need no file from outside
the package. The parts are random smooth shapes near four fixed places, as eyes or a mouth are, but
have no meaning: results on them compare encoders with each other and say nothing of faces.
"""

from __future__ import annotations

import numpy as np

from maskmim.config.ranges import Fraction, PositiveInt, Seed
from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.data.records import Example, Records, manifest_digest
from maskmim.data.scenes import Side
from maskmim.data.smooth_shapes import opacity, random_outline
from maskmim.data.transforms import resize_center_crop

# Centres of the parts as shares of the side, how far they are moved at most, and largest radii.
PLACES = ((0.28, 0.28), (0.28, 0.72), (0.72, 0.28), (0.72, 0.72))
MOVED, RADII = 0.05, (0.1, 0.16)


class SwappedParts:
    """Photographs, the map of their parts, and whether one is swapped; see `swapped_parts`."""

    def __init__(self, photographs: Records, *, count: int, side: int, swapped: float, seed: int):
        title = f"parts of {photographs.fingerprint}, {side}, {swapped}, {seed}"
        self.labels = {"swapped": ("no", "yes")}
        self.fingerprint = manifest_digest([(title, count)])
        self._photographs, self._count = photographs, count
        self._side, self._swapped = side, swapped
        # Other photographs must have other parts, too.
        self._seed = int(photographs.fingerprint[:15], 16), seed

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self._count:
            raise IndexError(f"record {index} of {self._count}")
        rng = np.random.default_rng([*self._seed, index])
        own, other = rng.choice(len(self._photographs), 2, replace=False)
        covers = [self._cover(rng, place) for place in PLACES]
        parts = np.zeros((self._side, self._side, 1), np.uint8)
        for number, cover in enumerate(covers, start=1):
            parts[cover >= 0.5] = number
        chosen, swap = int(rng.integers(len(PLACES))), bool(rng.random() < self._swapped)
        picture = self._picture(int(own))
        if swap:
            cover = covers[chosen][..., None]
            mixed = picture + cover * (self._picture(int(other)).astype(np.float32) - picture)
            picture = np.rint(mixed).astype(np.uint8)
        return Example({"image": picture, "parts": parts}, {"swapped": int(swap)})

    def name(self, index: int) -> str:
        """Return the number of an example."""
        return f"parts {index}"

    def _cover(self, rng: np.random.Generator, place: tuple[float, float]) -> np.ndarray:
        """Draw a part: how much of each pixel it covers, f32[side, side]."""
        centre = (np.asarray(place) + rng.uniform(-MOVED, MOVED, 2)) * self._side
        radius = rng.uniform(*RADII) * self._side
        return opacity(random_outline(rng), (self._side, self._side), tuple(centre), radius)

    def _picture(self, photograph: int) -> np.ndarray:
        """Return the largest square in the middle of a photograph, u8[side, side, 3]."""
        pixels = decode(self._photographs[photograph].encoded, channels=3)
        rng, size = np.random.default_rng(0), (self._side, self._side)
        return resize_center_crop(rng, pixels, size, crop_fraction=1.0)


def swapped_parts(
    *,
    split: str,
    count: PositiveInt = 512,
    side: Side = 64,
    swapped: Fraction = 0.5,
    seed: Seed = 0,
) -> SwappedParts:
    """Return embedded photographs with a map of four parts, of which one may be swapped.

    split:   of the photographs, as in `grocery.grocery`; examples of 'train' and of 'test' share no
             photograph. count: number of examples. side: of the square pictures, in pixels.
    swapped: probability that one of the parts, drawn at random, shows another photograph.
    seed:    other seeds draw other examples of the same photographs.

    An example holds {'image': u8[side, side, 3], 'parts': u8[side, side, 1]}, to be decoded by
    `decode_each.each`: 0 outside all parts, 1 to 4 inside one. Parts never overlap. A swapped one
    is soft over one pixel of its outline. The label set 'swapped' says 'no' or 'yes'. Example i
    depends on the photographs, the keywords and i alone. All numbers are ours.
    """
    photographs = grocery(split=split)
    return SwappedParts(photographs, count=count, side=side, swapped=swapped, seed=seed)
