"""Indices of classes of the predicted patches as targets."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.errors import UserError
from maskmim.types import Array, View


class ClassMapError(UserError, ValueError):
    """A target of classes where the inputs are amounts."""


def classes(view: View) -> Array:
    """Return the class of every value of the predicted patches: i32[B, P, V].

    Raises ClassMapError where the inputs are no indices.
    """
    if not jnp.issubdtype(view.inputs.dtype, jnp.integer):
        raise ClassMapError(
            f"the inputs {', '.join(view.net.grids)} are {view.inputs.dtype}, not indices of "
            "classes: name a stream that has classes, or use a target of pixels"
        )
    every = view.net.patchify(view.inputs)
    return jnp.take_along_axis(every, view.mask.predict[..., None], axis=1)
