"""Attention and logits that an averaged model computes from whole pictures."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config import facts
from maskmim.types import Array, Context, Mask, Net, Tree


@facts.finder(gives=("attention", "class_logits", "token_logits"))
def projected(net: Net, params: Tree, context: Context) -> dict[str, Array]:
    """Return the class token's attention in the last block, and the logits of all tokens.

    Gives 'attention' f32[B, N], the mean over heads, 'class_logits' f32[B, K] and 'token_logits'
    f32[B, N, K], from a model with the heads 'class' and 'tokens' (`models.projection`).
    Source: AttMask (arXiv 2203.12719), main_attmask.py of gkakogeorgiou/attmask: one pass of the
    teacher over the whole crops gives both the targets and the masks.
    """
    inputs = net.inputs(context.batch)
    encoded = net.encode(params, inputs, None, capture=("attention",))
    tokens = jnp.arange(context.length, dtype=jnp.int32)
    tokens = jnp.broadcast_to(tokens, (inputs.shape[0], context.length))
    mask = Mask(tokens, tokens, jnp.zeros(tokens.shape, bool), jnp.ones(tokens.shape, jnp.float32))
    outputs = net.predict(params, encoded, mask)
    attention = encoded.attention[-1, :, :, encoded.prefix.shape[1] :].mean(axis=1)
    return {
        "attention": attention,
        "class_logits": outputs["class"][:, 0],
        "token_logits": outputs["tokens"],
    }
