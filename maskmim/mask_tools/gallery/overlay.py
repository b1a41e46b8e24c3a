"""Masks laid over the gallery's pictures, as arrays u8[H, W, 3]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from maskmim.mask_tools.gallery.draw import MaskMaps
from maskmim.mask_tools.gallery.scene import Scene, with_three_axes

Colour = tuple[int, int, int]

# They differ in lightness too, so that people with any colour vision can tell them apart.
WITHHELD: Colour = (40, 110, 180)
LEFT_OUT: Colour = (190, 190, 190)
SEEN_PREDICTED: Colour = (213, 94, 0)
SEEN: Colour = (250, 238, 200)
PAPER: Colour = (255, 255, 255)
# Share of the colour; the rest is the photograph.
VEIL, TINT = 0.88, 0.5
FRAME_GAP = 4


class Kind(NamedTuple):
    """A kind of token and how it is painted: in a colour that takes this share of the picture."""

    meaning: str
    colour: Colour
    share: float


KINDS = (
    Kind("seen", SEEN, 0.0),
    Kind("not seen, predicted", WITHHELD, VEIL),
    Kind("not seen, not predicted", LEFT_OUT, VEIL),
    Kind("seen and predicted", SEEN_PREDICTED, TINT),
)


def kinds_of(seen: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return for each of KINDS where its tokens are, from two maps: bool of the maps' shape."""
    return seen & ~predicted, ~seen & predicted, ~seen & ~predicted, seen & predicted


def overlay(scene: Scene, view: MaskMaps, example: int, *, plain: bool = False) -> np.ndarray:
    """Paint a mask on the scene, the frames of a clip side by side.

    Seen tokens show the photograph, tinted where they are predicted; others are veiled in one
    colour where they are predicted and in another where they are not.
    plain: paint the colours alone; the photograph's own pattern would hide that of the mask.
    """
    seen, predicted = (
        maps[example].reshape(with_three_axes(scene.grid)) for maps in (view.seen, view.predicted)
    )
    frames = [
        scene.upright(_paint(*parts, plain=plain))
        for parts in zip(scene.frames, seen, predicted, strict=True)
    ]
    return tile(frames, columns=len(frames), gap=FRAME_GAP)


def _paint(
    frame: np.ndarray, seen: np.ndarray, predicted: np.ndarray, *, plain: bool
) -> np.ndarray:
    """Paint the maps bool[h, w] on a frame: f32[H, W, 3] -> u8[H, W, 3]."""
    colour = np.zeros((*seen.shape, 3))
    share = np.zeros((*seen.shape, 1))
    for tokens, kind in zip(kinds_of(seen, predicted), KINDS, strict=True):
        colour[tokens], share[tokens] = kind.colour, 1.0 if plain else kind.share
    size = frame.shape[0] // seen.shape[0], frame.shape[1] // seen.shape[1]
    colour, share = (part.repeat(size[0], 0).repeat(size[1], 1) for part in (colour, share))
    return (frame * 255 * (1 - share) + colour * share).round().astype(np.uint8)


def tile(pictures: Sequence[np.ndarray], *, columns: int, gap: int) -> np.ndarray:
    """Tile pictures of one size in rows of `columns`, with white gaps of `gap` pixels."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    size = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = np.full(size, PAPER, np.uint8)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        y, x = row * (height + gap), column * (width + gap)
        sheet[y : y + height, x : x + width] = picture
    return sheet
