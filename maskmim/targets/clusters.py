"""Soft cluster assignments as targets, as CAPI predicts them.

The assignments are a hint of the teacher `maskmim.teachers.clusters.balanced`.
"""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config import facts
from maskmim.models.layers.patches import gather
from maskmim.reporting.palette import palette
from maskmim.reporting.streams import GREY
from maskmim.targets.codes import repeat_to_pixels
from maskmim.types import Array, View


def draw_clusters(view: View, prediction: Array) -> dict[str, Array]:
    """Draw a colour for each cluster: the teacher's of all tokens, the student's of predicted ones.

    The teacher's clusters are the nearest prototypes: balancing the few examples of a picture
    would spread each of them over more clusters than balancing a batch does.
    """
    grid, size = view.context.grid, view.inputs.shape[1:-1]
    teacher = palette(view.context.hints["nearest_prototype"])
    student = palette(jnp.argmax(prediction, axis=-1))
    rows = jnp.arange(teacher.shape[0])[:, None]
    predicted = jnp.full_like(teacher, GREY).at[rows, view.mask.predict].set(student)
    picture = view.net.display(view.inputs)
    hidden = repeat_to_pixels(view.mask.hidden[..., None], grid, size)
    return {
        "image": picture,
        "image seen by the student": jnp.where(hidden, jnp.uint8(GREY), picture),
        "predicted clusters": repeat_to_pixels(predicted, grid, size),
        "teacher's clusters": repeat_to_pixels(teacher, grid, size),
    }


@facts.target(needs=("assignments",), shows=draw_clusters)
def assigned(view: View) -> Array:
    """Return the assignments of the predicted tokens: f32[B, P, K].

    Needs the hint 'assignments' f32[B, N, K].
    """
    return gather(view.context.hints["assignments"], view.mask.predict)
