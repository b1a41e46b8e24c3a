"""What the kind of a stream says: how its arrays are shown, and what they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from maskmim.errors import UserError
from maskmim.types import Array, Spec


class ModalityError(UserError, ValueError):
    """Arrays that a modality cannot show or measure; a picture function that returns no picture."""


def no_baselines(spec: Spec) -> dict[str, Callable[[Array], Array]]:
    """Return no untrained encoders."""
    return {}


class Modality(NamedTuple):
    """How arrays of a stream become pictures, and which untrained encoders they have.

    picture:   (arrays u8[B, *size, C], hidden bool[B, *size] or None) -> u8[B, H, W, 3], of clips
               u8[B, T, H, W, 3]. The arrays are those of `Net.display`, or a picture that a method
               made on the same axes. hidden: which values a mask withholds, to be painted grey.
               None where there is nothing to draw.
    axes:      the numbers of axes of `Spec.size` that the picture and the baselines can take; ()
               for any.
    baselines: spec -> {name in tables: encode}, encode: [B, *size, C] -> f32[B, D].
    """

    picture: Callable[[np.ndarray, np.ndarray | None], np.ndarray] | None
    axes: tuple[int, ...] = ()
    baselines: Callable[[Spec], Mapping[str, Callable[[Array], Array]]] = no_baselines

    def fits(self, spec: Spec) -> bool:
        """Return whether a stream has a number of axes that this takes."""
        return not self.axes or len(spec.size) in self.axes

    def draw(self, arrays: np.ndarray, hidden: np.ndarray | None = None) -> np.ndarray:
        """Return the pictures of arrays; raise ModalityError where the function makes none.

        arrays, hidden: see `picture`, which must not be None.
        """
        drawn = np.asarray(self.picture(arrays, hidden))
        rgb = drawn.ndim in (4, 5) and drawn.shape[-1] == 3 and len(drawn) == len(arrays)
        if drawn.dtype != np.uint8 or not rgb or not drawn.size:
            raise ModalityError(
                f"the picture function returned {drawn.dtype}{[*drawn.shape]} for "
                f"arrays {arrays.dtype}{[*arrays.shape]}: return uint8 of "
                f"[{len(arrays)}, height, width, 3], of clips [{len(arrays)}, frames, height, "
                "width, 3]"
            )
        return drawn
