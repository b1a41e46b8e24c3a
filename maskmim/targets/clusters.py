"""Assignments to clusters as targets."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.models.layers.patches import gather
from maskmim.quantize.prototypes import logits
from maskmim.reporting.streams import GREY
from maskmim.targets.codes import palette, spread
from maskmim.types import Array, View


def assigned(view: View) -> Array:
    """Target brick: the assignments of the predicted tokens, f32[B, P, K]."""
    return gather(view.context.hints["assignments"], view.mask.predict)


def shows(view: View, prediction: Array) -> dict[str, Array]:
    """A colour for each cluster: the teacher's of every token, the student's of predicted ones.

    The teacher's are the nearest prototypes: a balance over the few examples of a picture would
    spread each of them over more clusters than a batch does.
    """
    grid, size = view.context.grid, view.inputs.shape[1:-1]
    found = logits(view.extra["clusters"], view.context.hints["features"])
    own = palette(jnp.argmax(found, axis=-1))
    likeliest = palette(jnp.argmax(prediction, axis=-1))
    rows = jnp.arange(own.shape[0])[:, None]
    drawn = jnp.full_like(own, GREY).at[rows, view.mask.predict].set(likeliest)
    picture = view.net.display(view.inputs)
    hidden = spread(view.mask.hidden[..., None], grid, size)
    return {
        "image": picture,
        "image seen by the student": jnp.where(hidden, jnp.uint8(GREY), picture),
        "predicted clusters": spread(drawn, grid, size),
        "teacher's clusters": spread(own, grid, size),
    }


assigned.needs = ("assignments",)


assigned.shows = shows
