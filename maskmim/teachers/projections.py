"""What an averaged model finds of whole pictures: attention, and logits to be distilled."""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.types import Array, Context, Mask, Net, Tree


def projected(net: Net, params: Tree, context: Context) -> dict[str, Array]:
    """The class token's attention in the last block, and the logits of all tokens.

    Gives 'attention' f32[B, N], the mean over heads, 'class_logits' f32[B, K] and 'token_logits'
    f32[B, N, K], from a model with the heads 'class' and 'tokens' (`models.projection`).
    Source: AttMask (arXiv 2203.12719), main_attmask.py of gkakogeorgiou/attmask: one pass of the
    teacher over the whole crops makes both the targets and the masks.
    """
    inputs = net.inputs(context.batch)
    encoded = net.encode(params, inputs, None, capture=("attention",))
    tokens = jnp.arange(context.length, dtype=jnp.int32)
    every = jnp.broadcast_to(tokens, (inputs.shape[0], context.length))
    whole = Mask(every, every, jnp.zeros(every.shape, bool), jnp.ones(every.shape, jnp.float32))
    outputs = net.predict(params, encoded, whole)
    attention = encoded.attention[-1, :, :, encoded.prefix.shape[1] :].mean(axis=1)
    return {
        "attention": attention,
        "class_logits": outputs["class"][:, 0],
        "token_logits": outputs["tokens"],
    }


projected.gives = ("attention", "class_logits", "token_logits")
