"""Spectrograms: time to the right, frequency upwards, energy as colour."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib
import numpy as np

from maskmim.modalities import baselines
from maskmim.modalities.modality import Modality
from maskmim.reporting.streams import as_rgb, paint_grey
from maskmim.types import Array, Spec


def spectrogram() -> Modality:
    """Return the modality of spectrograms [time, mel, C], compared with statistics of their bands.

    One channel gets a colour map, so that grey can mean hidden.
    """
    return Modality(_upright, (2,), _of_bands)


def _upright(arrays: np.ndarray, hidden: np.ndarray | None) -> np.ndarray:
    """Colour spectrograms u8[B, time, mel, C] and turn them: u8[B, mel, time, 3]."""
    painted = paint_grey(_coloured(arrays), hidden)
    return np.ascontiguousarray(painted.swapaxes(1, 2)[:, ::-1])


def _coloured(arrays: np.ndarray) -> np.ndarray:
    if arrays.shape[-1] != 1:
        return as_rgb(arrays)
    colours = (matplotlib.colormaps["magma"](np.arange(256))[:, :3] * 255).astype(np.uint8)
    return colours[arrays[..., 0]]


def _of_bands(spec: Spec) -> dict[str, Callable[[Array], Array]]:
    return {"log-mel statistics": baselines.band_statistics}
