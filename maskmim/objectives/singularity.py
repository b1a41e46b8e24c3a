"""Mask tokens that resemble no visible token, as a term of the loss."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config.ranges import NonNegative
from maskmim.models.layers.heads import head_output
from maskmim.types import Mean, Objective, View


def singularity(*, head: str = "likeness", scale: NonNegative = 0.1) -> Objective:
    """Lower how alike hidden and visible tokens are in the blocks that a network reports.

    head:  an output f32[B, P, L], one value for each of L blocks, see `models.mto.likeness`.
    scale: factor in the sum of objectives (ours).
    The loss is the mean over the blocks. Metrics: 'block_<n>' of each, from 1.
    Raises ModelError for an output that the network lacks.
    Source: none; after the abstract of MTO (arXiv 2404.08330), whose formulas were not found.
    """

    def find(view: View):
        alike = head_output(view.outputs, head).astype(jnp.float32)
        weight = view.mask.weight
        total = jnp.sum(alike * weight[..., None], axis=(0, 1))
        metrics = {f"block_{n + 1}": Mean(total[n], jnp.sum(weight)) for n in range(len(total))}
        return alike.mean(axis=-1), weight, metrics, ()

    return Objective((), scale, find, f"likeness of hidden and visible tokens, {head}")
