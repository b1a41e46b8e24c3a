"""The attention of a network's own queries to the tokens of the whole input."""

from __future__ import annotations

from maskmim.config import facts
from maskmim.models.calls import call_of
from maskmim.types import Array, Context, Net, Tree


@facts.finder(gives=("token_attention",))
def query_attention(
    net: Net, params: Tree, context: Context, *, call: str = "reads"
) -> dict[str, Array]:
    """Return how much each query attends to each token while nothing is hidden.

    call: name of the network's function, (params, inputs) -> f32[B, Q, N], such as that of
          `models.perceiver`. As the find of `teachers.current` it has the weights of the same step,
          so that a mask of this attention is drawn between the logits and the softmax over what
          stays visible.
    Gives 'token_attention' f32[B, Q, N], after the softmax over all tokens and over heads.
    Source: SMA (arXiv 2402.14789), SMASelfAttention of modeling_sma.py, Johnathan-Xie/sma.
    """
    inputs = net.inputs(context.batch)
    return {"token_attention": call_of(net, call)(params, inputs)}
