"""Sinkhorn-Knopp: soft assignments of examples to clusters that use all clusters equally."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.types import Array


def sinkhorn(scores: Array, *, iterations: int, epsilon: float = 1e-8) -> Array:
    """Return exp(scores), scaled in turn to equal cluster sums and to equal example sums.

    scores:  f32[B, ..., K], already divided by the temperature. Clusters are balanced over the
             first axis, separately at each place of the middle axes; flatten axes that should be
             balanced together.
    epsilon: added to the sums.
    Returns f32[B, ..., K]; the last axis, scaled last, sums to 1, or to less for an example whose
    share in every cluster is as small as epsilon.
    Under jit over a mesh the first axis is that of the global batch, however it is sharded.
    Source: Sinkhorn distances (arXiv 1306.0895); sinkhorn_knopp of model.py, facebookresearch/capi.
    Difference: the official code shifts the largest exponent of a cluster to 50, which keeps
    numbers that are too small to change any sum; here it is 0.
    """
    shares = jnp.exp(scores - jnp.max(scores, axis=0, keepdims=True))
    for _ in range(iterations):
        shares = shares / (jnp.sum(shares, axis=0, keepdims=True) + epsilon)
        shares = shares / (jnp.sum(shares, axis=-1, keepdims=True) + epsilon)
    return shares
