"""The encoder itself as a teacher: what it finds in the tokens to predict, seen by themselves."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.models.mae_decoder import spread
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree


def alignment() -> Teacher:
    """Latents of the predicted tokens, which alone enter the encoder of this very step.

    Gives 'features' f32[B, N, D], 0 for tokens that are not predicted; no gradient passes. The
    weights are no average: they are set to the encoder's own after each update and never lag.
    Source: the alignment branch of CAE (arXiv 2202.03026), alignment_parameter_update of
    models/modeling_cae.py, Atten4Vis/CAE, where both networks hold the same arrays.
    Difference: it drops no paths, there as the encoder.
    """

    def init(key: Array, net: Net, params: Tree) -> Tree:
        return {"encoder": params["encoder"]}

    def find(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        swapped = mask._replace(visible=mask.predict, hidden=~mask.hidden)
        latents = net.encode(extra, net.inputs(context.batch), swapped).tokens
        nothing = jnp.zeros((), latents.dtype)
        return {"features": spread(nothing, latents, mask.predict, context.length)}

    def refresh(extra: Tree, params: Tree, carry: Tree, progress: Array) -> Tree:
        return {"encoder": params["encoder"]}

    return Teacher(("features",), True, init, find, refresh)
