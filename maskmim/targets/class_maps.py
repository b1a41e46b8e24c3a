"""Indices of classes of the predicted patches as targets."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config.ranges import NonNegativeInt
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


def of_field(view: View, *, field: str, void: NonNegativeInt | None = None) -> Array:
    """Return the class of every value of the predicted patches, of a map of the picture's size.

    field: its name in the batch, i32 or u8[B, H, W]. void: the index that stands for no class.
    Returns i32[B, P, V], -1 for no class. Raises ClassMapError for a field that is missing, or no
    map of indices on the network's picture.
    """
    batch, (stream, *_) = view.context.batch, view.net.grids
    if field not in batch:
        raise ClassMapError(
            f"the batch has no field {field!r}, but {', '.join(sorted(batch))}: declare it in "
            f"input.fields.{field}"
        )
    indices, size = batch[field], batch[stream].shape[1:3]
    if not jnp.issubdtype(indices.dtype, jnp.integer) or indices.shape[1:] != size:
        raise ClassMapError(
            f"the field {field!r} is {indices.dtype}{list(indices.shape[1:])}, not indices "
            f"{list(size)}: set input.fields.{field}.shape to the size of the picture, and its "
            "dtype to uint8 or int32"
        )
    every = view.net.patchify(indices.astype(jnp.int32)[..., None])
    chosen = jnp.take_along_axis(every, view.mask.predict[..., None], axis=1)
    return chosen if void is None else jnp.where(chosen == void, -1, chosen)
