"""Masks laid over the gallery's pictures, as arrays u8[H, W, 3]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskmim.mask_tools.gallery.draw import MaskMaps
from maskmim.mask_tools.gallery.scene import Scene, with_three_axes

Colour = tuple[int, int, int]

# They differ in lightness too, so that people with any colour vision can tell them apart.
WITHHELD: Colour = (108, 170, 222)
LEFT_OUT: Colour = (232, 232, 232)
SEEN_PREDICTED: Colour = (213, 94, 0)
PAPER: Colour = (255, 255, 255)
# Share of the colour; the rest is the photograph.
VEIL, TINT = 0.88, 0.5
FRAME_GAP = 4


def overlay(scene: Scene, view: MaskMaps, example: int) -> np.ndarray:
    """Paint a mask on the scene, the frames of a clip side by side.

    Seen tokens show the photograph, tinted where they are predicted; others are veiled in one
    colour where they are predicted and in another where they are not.
    """
    seen, predicted = (
        maps[example].reshape(with_three_axes(scene.grid)) for maps in (view.seen, view.predicted)
    )
    frames = [
        scene.upright(_paint(*parts)) for parts in zip(scene.frames, seen, predicted, strict=True)
    ]
    return tile(frames, columns=len(frames), gap=FRAME_GAP)


def _paint(frame: np.ndarray, seen: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Paint the maps bool[h, w] on a frame: f32[H, W, 3] -> u8[H, W, 3]."""
    colour = np.zeros((*seen.shape, 3))
    share = np.zeros((*seen.shape, 1))
    for tokens, ink, strength in (
        (~seen & predicted, WITHHELD, VEIL),
        (~seen & ~predicted, LEFT_OUT, VEIL),
        (seen & predicted, SEEN_PREDICTED, TINT),
    ):
        colour[tokens], share[tokens] = ink, strength
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
