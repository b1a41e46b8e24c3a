"""Optimisers of the linear probe: `(rate, *, hyperparameters) -> optax transformation`."""

from __future__ import annotations

import jax
import optax

from maskmim.schedules.warmup import Schedule
from maskmim.types import Tree


def lars(
    rate: Schedule, *, momentum: float = 0.9, trust_coefficient: float = 0.001
) -> optax.GradientTransformation:
    """LARS without weight decay: steps of a length in proportion to the length of the weights.

    rate: step -> learning rate.
    A gradient g of weights w counts as g * trust_coefficient * |w| / |g| (as g where either length
    is 0); arrays of one dimension, biases, count as g. Then momentum, then the rate.
    Source: arXiv 1708.03888 as used by MAE (util/lars.py). `optax.lars` has the same trust ratio
    but multiplies with the rate before the momentum, so a past gradient keeps its past rate; under
    a schedule the two differ, hence this chain.
    """

    def matrices(params: Tree) -> Tree:
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    ratio = optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient)
    return optax.chain(
        optax.masked(ratio, matrices), optax.trace(momentum), optax.scale_by_learning_rate(rate)
    )


def sgd(rate: Schedule, *, momentum: float = 0.9) -> optax.GradientTransformation:
    """Gradient descent with momentum, no weight decay; momentum before the rate, as in torch.

    rate: step -> learning rate. Its good rates are far from those of LARS: sweep others.
    """
    return optax.chain(optax.trace(momentum), optax.scale_by_learning_rate(rate))
