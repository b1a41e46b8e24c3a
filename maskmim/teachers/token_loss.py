"""Difficulty of tokens, as an averaged model predicts it."""

from __future__ import annotations

from maskmim.config import facts
from maskmim.masks.core import nothing_hidden
from maskmim.models.calls import call_of
from maskmim.types import Array, Context, Net, Tree


@facts.finder(gives=("token_loss",))
def predicted(net: Net, params: Tree, context: Context, *, call: str = "loss") -> dict[str, Array]:
    """Return the loss that the model predicts for every token of the whole example.

    call: name of the network's function that predicts losses: (params, Encoded, mask) ->
          f32[B, P, 1]. All N tokens are visible and predicted.
    Gives 'token_loss' f32[B, N], higher is harder.
    Source: HPM (arXiv 2304.05919), engine_pretrain.py of Haochen-Wang409/HPM.
    The published method has a mismatch (issue 1 of its repository): the head learns on hidden
    tokens and predicts visible ones.
    """
    inputs = net.inputs(context.batch)
    mask = nothing_hidden(inputs.shape[0], context.length)
    losses = call_of(net, call)(params, net.encode(params, inputs, None), mask)
    return {"token_loss": losses[..., 0]}
