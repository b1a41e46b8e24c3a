"""The encoder itself as a teacher: its latents of the tokens to predict, without the others."""

from __future__ import annotations

from maskmim.teachers.features import predicted_tokens
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree


def alignment() -> Teacher:
    """Return a teacher that encodes the predicted tokens alone with the encoder of the same step.

    Gives 'features' f32[B, N, D], 0 for tokens that are not predicted; no gradient passes. The
    weights are not averaged: they are set to the encoder's after each update.
    Source: the alignment branch of CAE (arXiv 2202.03026), alignment_parameter_update of
    models/modeling_cae.py, Atten4Vis/CAE, where both networks hold the same arrays.
    Difference: no paths are dropped; the official code drops them as in the encoder.
    """

    def init(key: Array, net: Net, params: Tree) -> Tree:
        return {"encoder": params["encoder"]}

    def find(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        return predicted_tokens(net, extra, context, mask)

    def refresh(extra: Tree, params: Tree, carry: Tree, progress: Array) -> Tree:
        return {"encoder": params["encoder"]}

    return Teacher(("features",), True, init, find, refresh)
