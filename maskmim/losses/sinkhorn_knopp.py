"""Sinkhorn-Knopp: soft assignments of examples to clusters that use every cluster alike."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.types import Array


def sinkhorn(scores: Array, *, iterations: int, epsilon: float = 1e-8) -> Array:
    """exp(scores) scaled in turn so that clusters weigh alike, then so that examples do.

    scores:  f32[B, ..., K], already divided by the temperature. Clusters are balanced over the
             first axis, for each place of the middle axes by itself; flatten what is to be balanced
             together.
    epsilon: added to the sums.
    Returns f32[B, ..., K]; the last axis, scaled last, sums to 1, or to less for an example whose
    share in every cluster is as small as epsilon.
    Under jit over a mesh the first axis is that of the global batch, wherever its parts lie.
    Source: Sinkhorn distances (arXiv 1306.0895); sinkhorn_knopp of model.py, facebookresearch/capi.
    Difference: the official code shifts the largest exponent of a cluster to 50, so that numbers
    are kept which are too small to be noticed in any sum; here it is 0.
    """
    shares = jnp.exp(scores - jnp.max(scores, axis=0, keepdims=True))
    for _ in range(iterations):
        shares = shares / (jnp.sum(shares, axis=0, keepdims=True) + epsilon)
        shares = shares / (jnp.sum(shares, axis=-1, keepdims=True) + epsilon)
    return shares
