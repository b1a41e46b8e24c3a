"""What a teacher finds in the whole example, as targets."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.models.layers.patches import gather
from maskmim.types import Array, View


def features(view: View) -> Array:
    """The hint 'features' f32[B, N, D] at the predicted tokens: f32[B, P, D]."""
    return gather(view.context.hints["features"].astype(jnp.float32), view.mask.predict)


features.needs = ("features",)
