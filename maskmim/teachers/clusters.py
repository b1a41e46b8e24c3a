"""Online clustering of tokens: the assignments of tokens to prototypes, as hints.

The prototypes are a learned function of the network (`maskmim.models.prototypes`), trained by
`maskmim.objectives.clustering`; `maskmim.targets.clusters` has the assignments as targets.
"""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config.ranges import NonNegativeInt, Positive
from maskmim.losses.sinkhorn_knopp import sinkhorn
from maskmim.models.calls import call_of
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree


def balanced(
    *, call: str = "clusters", temperature: Positive = 0.06, iterations: NonNegativeInt = 3
) -> Teacher:
    """Return a teacher that assigns tokens to prototypes by Sinkhorn; list it last.

    call:        name of the network's function that gives the logits of the prototypes.
    temperature: of the assignments.
    iterations:  of `sinkhorn`.
    Reads the hint 'features' f32[B, N, D]; gives 'assignments' f32[B, N, K], and
    'nearest_prototype' i32[B, N], which is not balanced.
    Clusters are balanced over the examples, separately at each position, so that a position does
    not tell the cluster. Not additive over micro-batches: with train.micro_batches each part is
    balanced separately, which is a coarser balance, not the same step in less memory.
    Source: OnlineClustering of model.py, facebookresearch/capi, with positionwise_sk.
    Difference: assignments are float32; the official code has the dtype of the computation.
    """

    def init(key: Array, net: Net, params: Tree) -> Tree:
        return ()

    def find(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        scores = call_of(net, call)(context.params, context.hints["features"])
        assignments = sinkhorn(scores / temperature, iterations=iterations)
        return {"assignments": assignments, "nearest_prototype": jnp.argmax(scores, axis=-1)}

    def refresh(extra: Tree, params: Tree, carry: Tree, progress: Array) -> Tree:
        return extra

    return Teacher(("assignments", "nearest_prototype"), False, init, find, refresh, calls=(call,))
