"""Tokens that are indices themselves, such as bytes of a text, as targets."""

from __future__ import annotations

from maskmim.targets.class_maps import classes
from maskmim.types import Array, View


def tokens(view: View) -> Array:
    """Return the indices of the predicted tokens, one for each: i32[B, P].

    Raises ClassMapError where the inputs are no indices.
    """
    return classes(view)[..., 0]
