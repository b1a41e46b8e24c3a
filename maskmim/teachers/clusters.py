"""Online clustering of tokens: prototypes that learn, and assignments as hints.

The prototypes are trained by `maskmim.objectives.clustering`; the assignments are the targets
`maskmim.targets.clusters.assigned`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from maskmim.config.ranges import NonNegativeInt, Positive, PositiveInt
from maskmim.losses.sinkhorn_knopp import sinkhorn
from maskmim.quantize.prototypes import prototype_logits
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree


def prototypes(
    *, clusters: PositiveInt = 16384, temperature: Positive = 0.06, iterations: NonNegativeInt = 3
) -> Teacher:
    """Return a teacher that assigns tokens to prototypes by Sinkhorn; list it last.

    clusters:    K prototypes, from N(0, 1), with biases: a linear layer on tokens of length 1.
    temperature: of the assignments.
    iterations:  of `sinkhorn`.
    Reads the hint 'features' f32[B, N, D]; gives 'assignments' f32[B, N, K].
    Clusters are balanced over the examples, separately at each position, so that a position does
    not tell the cluster. Not additive over micro-batches: with train.micro_batches each part is
    balanced separately, which is a coarser balance, not the same step in less memory.
    Source: OnlineClustering of model.py, facebookresearch/capi, with positionwise_sk.
    Difference: assignments are float32; the official code has the dtype of the computation.
    """

    def init(key: Array, net: Net, params: Tree) -> Tree:
        kernel = jax.random.normal(key, (net.width, clusters), jnp.float32)
        return {"kernel": kernel, "bias": jnp.zeros(clusters)}

    def find(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        scores = prototype_logits(extra, context.hints["features"]) / temperature
        return {"assignments": sinkhorn(scores, iterations=iterations)}

    def refresh(extra: Tree, params: Tree, carry: Tree, progress: Array) -> Tree:
        return extra

    return Teacher(("assignments",), False, init, find, refresh)
