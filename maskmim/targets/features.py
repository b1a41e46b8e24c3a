"""Features that a teacher computes from the whole example, as targets."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config import facts
from maskmim.models.layers.patches import gather
from maskmim.types import Array, View


@facts.target(needs=("features",))
def features(view: View) -> Array:
    """Return the hint 'features' f32[B, N, D] at the predicted tokens: f32[B, P, D]."""
    return gather(view.context.hints["features"].astype(jnp.float32), view.mask.predict)
