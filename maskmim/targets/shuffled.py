"""The values of another target, at other tokens of the same example."""

from __future__ import annotations

from collections.abc import Callable

import jax

from maskmim.types import Array, View


def shuffled(view: View, *, target: Callable[[View], Array]) -> Array:
    """Return another target's values in an order of tokens that each example draws.

    target: brick, view -> [B, P, V].
    What a token is to predict thus says nothing about this token; the best prediction is what the
    predicted tokens have in common.
    Source: forward_loss of models_dmjd.py, mx-mark/DMJD, which compares visible tokens in the order
    of their draw with targets in the order of the grid.
    """
    values = target(view)
    return jax.vmap(jax.random.permutation)(view.randomness.each("order"), values)
