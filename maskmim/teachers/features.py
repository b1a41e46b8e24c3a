"""What an averaged encoder makes of whole examples: its tokens, to be predicted or clustered."""

from __future__ import annotations

from maskmim.types import Array, Context, Net, Tree


def last_tokens(net: Net, params: Tree, context: Context) -> dict[str, Array]:
    """The encoder's output for every token of the whole example, no path dropped.

    Gives 'features' f32[B, N, D], as `teachers.frozen` does of networks that do not learn.
    """
    return {"features": net.encode(params, net.inputs(context.batch), None).tokens}


last_tokens.gives = ("features",)
