"""Tokens that an averaged encoder computes from whole examples, to be predicted or clustered."""

from __future__ import annotations

from maskmim.config import facts
from maskmim.types import Array, Context, Net, Tree


@facts.finder(gives=("features",))
def last_tokens(net: Net, params: Tree, context: Context) -> dict[str, Array]:
    """Return the encoder's output for every token of the whole example, with no path dropped.

    Gives 'features' f32[B, N, D], as `teachers.frozen` does with networks that do not learn.
    """
    return {"features": net.encode(params, net.inputs(context.batch), None).tokens}
