"""Sheets of pictures beside the truth and the prediction of every pixel."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from maskmim.data.resize import resize
from maskmim.modalities.classes import NO_CLASS, class_map
from maskmim.reporting.sheets import draw_sheet
from maskmim.reporting.streams import as_rgb

# The side to which pictures of several sizes are brought.
SIDE = 192


def draw_predictions(
    pictures: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predicted: Sequence[np.ndarray],
    *,
    title: str,
) -> np.ndarray:
    """Draw pictures [H, W, C] beside painted maps u8[h, w, 3]: u8[height, width, 3].

    Pictures are stretched to squares of one size where their sizes differ.
    """
    columns = {"picture": [_levels(each) for each in pictures]}
    columns |= {"truth": list(truths), "prediction": list(predicted)}
    if len({each.shape for column in columns.values() for each in column}) > 1:
        columns = {
            name: [resize(each, (SIDE, SIDE)) for each in column]
            for name, column in columns.items()
        }
    stacked = {name: np.stack(column) for name, column in columns.items()}
    return draw_sheet(stacked, title=title, groups=2)


def _levels(picture: np.ndarray) -> np.ndarray:
    """Return a picture as u8[H, W, 3]; real numbers are stretched from their least to the most."""
    if picture.dtype != np.uint8:
        low, high = float(picture.min()), float(picture.max())
        picture = np.rint(255 * (picture - low) / max(high - low, 1e-9)).astype(np.uint8)
    return as_rgb(picture[None])[0]


def painted_classes(indices: np.ndarray, classes: int, void: int | None) -> np.ndarray:
    """Return a colour for each class, black for none: [h, w] -> u8[h, w, 3]."""
    nothing = (indices < 0) | (indices >= classes)
    nothing |= indices == (-1 if void is None else void)
    shown = np.where(nothing, NO_CLASS, indices % NO_CLASS).astype(np.uint8)
    return class_map().draw(shown[None, ..., None])[0]


def key_of_classes(indices: Collection[int]) -> dict[str, tuple[int, int, int]]:
    """Return the colours of classes in `painted_classes`, by the text 'class 3'."""
    wanted = sorted(indices)
    colours = painted_classes(np.array([wanted]), max(wanted) + 1, None)[0]
    return {
        f"class {index}": tuple(map(int, colour))
        for index, colour in zip(wanted, colours, strict=True)
    }


def painted_amounts(values: np.ndarray, high: float) -> np.ndarray:
    """Return amounts as grey, 0 white and `high` black, no amount red: [h, w] -> u8[h, w, 3]."""
    grey = np.rint(255 * np.clip(1 - values / high, 0, 1)).astype(np.uint8)
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    rgb[~(values > 0)] = (160, 0, 0)
    return rgb
