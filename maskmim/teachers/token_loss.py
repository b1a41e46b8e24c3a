"""What an averaged model finds of the difficulty of tokens."""

from __future__ import annotations

from maskmim.masks.core import whole
from maskmim.types import Array, Context, Net, Tree


def predicted(net: Net, params: Tree, context: Context, *, head: str = "loss") -> dict[str, Array]:
    """The loss that the model predicts for every token of the whole example.

    head: of the model, one value per token. All N tokens are visible and predicted.
    Gives 'token_loss' f32[B, N], higher is harder.
    Source: HPM (arXiv 2304.05919), engine_pretrain.py of Haochen-Wang409/HPM.
    Mismatch in the method itself (issue 1 there): the head learns on hidden tokens and is asked
    about visible ones.
    """
    inputs = net.inputs(context.batch)
    every = whole(inputs.shape[0], context.length)
    outputs = net.predict(params, net.encode(params, inputs, None), every)
    return {"token_loss": outputs[head][..., 0]}


predicted.gives = ("token_loss",)
