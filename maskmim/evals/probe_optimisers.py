"""Optimisers of trained probes: `(rate, *, hyperparameters) -> optax transformation`."""

from __future__ import annotations

import jax
import optax

from maskmim.schedules.warmup import Schedule
from maskmim.types import Tree


def lars(
    rate: Schedule, *, momentum: float = 0.9, trust_coefficient: float = 0.001
) -> optax.GradientTransformation:
    """Build LARS without weight decay: steps in proportion to the norm of the weights.

    rate: step -> learning rate.
    Scales a gradient g of weights w to g * trust_coefficient * |w| / |g| (unchanged where either
    norm is 0); leaves arrays of one dimension, biases, unchanged. Then momentum, then the rate.
    Source: arXiv 1708.03888 as used by MAE (util/lars.py). `optax.lars` has the same trust ratio
    but multiplies by the rate before the momentum, so a past gradient keeps its past rate; under a
    schedule the two differ, hence this chain.
    """
    ratio = optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient)
    return optax.chain(
        optax.masked(ratio, _matrices), optax.trace(momentum), optax.scale_by_learning_rate(rate)
    )


def sgd(rate: Schedule, *, momentum: float = 0.9) -> optax.GradientTransformation:
    """Build SGD with momentum, without weight decay; momentum before the rate, as in torch.

    rate: step -> learning rate. Good rates differ much from those of LARS: sweep others.
    """
    return optax.chain(optax.trace(momentum), optax.scale_by_learning_rate(rate))


def adamw(rate: Schedule, *, weight_decay: float = 0.001) -> optax.GradientTransformation:
    """Build AdamW (momenta .9 and .999) with weight decay of matrices alone, as in V-JEPA.

    rate: step -> learning rate.
    Source: V-JEPA (configs/evals/vitl16_in1k.yaml, evals/image_classification_frozen/eval.py).
    """
    return optax.adamw(rate, weight_decay=weight_decay, mask=_matrices)


def _matrices(params: Tree) -> Tree:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
