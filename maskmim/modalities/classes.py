"""Maps of classes: a colour for each class, such as labels of pixels."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from maskmim.modalities import baselines
from maskmim.modalities.modality import Modality
from maskmim.reporting.palette import palette
from maskmim.reporting.streams import as_rgb, paint_grey
from maskmim.types import Array, Spec

NO_CLASS = 255


def class_map() -> Modality:
    """Return the modality of images and clips whose values are indices of classes.

    `Net.display` gives indices modulo 256, so that more than 256 classes share colours. Black is
    255, which stands for no class unless a stream has more than 255 of them (`data.no_class`).
    Compared with the share of each class (square root, as of colours).
    """
    return Modality(_coloured, (2, 3), _of_classes)


def _coloured(arrays: np.ndarray, hidden: np.ndarray | None) -> np.ndarray:
    """Colour the classes of arrays of one channel; others are pictures already."""
    # The palette begins with a grey that looks hidden, and has no black.
    colours = np.array(palette(np.arange(1, 257, dtype=np.int32)))
    colours[NO_CLASS] = 0
    rgb = colours[arrays[..., 0]] if arrays.shape[-1] == 1 else as_rgb(arrays)
    return paint_grey(rgb, hidden)


def _of_classes(spec: Spec) -> dict[str, Callable[[Array], Array]]:
    classes = spec.classes or 256
    return {"class shares": functools.partial(baselines.class_shares, classes=classes)}
