"""What an averaged model computes from whole pictures: attention, logits, projections."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from maskmim.config import facts
from maskmim.masks.core import nothing_hidden
from maskmim.models.calls import call_of
from maskmim.teachers.average import AverageError
from maskmim.types import Array, Context, Encoded, Mask, Net, Tree


@facts.finder(gives=("attention", "class_logits", "token_logits"))
def projected(net: Net, params: Tree, context: Context) -> dict[str, Array]:
    """Return the class token's attention in the last block, and the logits of all tokens.

    Gives 'attention' f32[B, N], the mean over heads, 'class_logits' f32[B, K] and 'token_logits'
    f32[B, N, K], from a model with the heads 'class' and 'tokens' (`models.projection`).
    Source: AttMask (arXiv 2203.12719), main_attmask.py of gkakogeorgiou/attmask: one pass of the
    teacher over the whole crops gives both the targets and the masks.
    """
    encoded = net.encode(params, net.inputs(context.batch), None, capture=("attention",))
    tokens = jnp.arange(context.length, dtype=jnp.int32)
    tokens = jnp.broadcast_to(tokens, (len(encoded.tokens), context.length))
    outputs = _predict_at(tokens, net, params, encoded)
    return {
        "attention": _last_attention(encoded),
        "class_logits": outputs["class"][:, 0],
        "token_logits": outputs["tokens"],
    }


@facts.finder(gives=("attention", "class_logits"))
def class_logits(net: Net, params: Tree, context: Context) -> dict[str, Array]:
    """Return what `projected` does, without the logits of tokens, which are not computed.

    Source: DINO (arXiv 2104.14294), main_dino.py of facebookresearch/dino.
    """
    encoded = net.encode(params, net.inputs(context.batch), None, capture=("attention",))
    none = jnp.zeros((len(encoded.tokens), 0), jnp.int32)
    outputs = _predict_at(none, net, params, encoded)
    return {"attention": _last_attention(encoded), "class_logits": outputs["class"][:, 0]}


def _predict_at(tokens: Array, net: Net, params: Tree, encoded: Encoded) -> dict[str, Array]:
    """Return the heads' outputs for the class token and tokens i32[B, P] of whole examples."""
    hidden, weight = jnp.zeros(tokens.shape, bool), jnp.ones(tokens.shape, jnp.float32)
    return net.predict(params, encoded, Mask(tokens, tokens, hidden, weight))


def _last_attention(encoded: Encoded) -> Array:
    """Return the class token's attention to tokens in the last block, f32[B, N], over heads."""
    return encoded.attention[-1, :, :, encoded.prefix.shape[1] :].mean(axis=1)


@facts.finder(gives=("projection",))
def projected_mean(
    net: Net, params: Tree, context: Context, *, project: str | None = "projector"
) -> dict[str, Array]:
    """Return the projection of the mean of all tokens of a whole example, without its prefix.

    project: the name of a function under config.calls; None for the mean itself.
    Gives 'projection' f32[B, values]. Raises AverageError where the average lacks the function.
    Source: LUT, forward of models/models_lut.py with ema=True, naver-ai/lut.
    """
    encoded = net.encode(params, net.inputs(context.batch), None)
    pooled = jnp.mean(encoded.tokens.astype(jnp.float32), axis=1)
    return {"projection": _project(net, params, project, pooled)}


@facts.finder(gives=("projection",))
def projected_class(
    net: Net, params: Tree, context: Context, *, project: str | None = "projector"
) -> dict[str, Array]:
    """Return the projection of the class token of a whole example.

    project, what it gives and raises: as `projected_mean`; also raises AverageError where the model
    has no class token.
    """
    prefix = net.encode(params, net.inputs(context.batch), None).prefix
    if not prefix.shape[1]:
        raise AverageError(
            "projected_class needs a class token, which the model lacks: set "
            "model.class_token=True, or find to maskmim.teachers.projections.projected_mean"
        )
    return {"projection": _project(net, params, project, prefix[:, 0].astype(jnp.float32))}


@facts.finder(gives=("projection",))
def projected_representation(
    net: Net, params: Tree, context: Context, *, project: str | None = "projector"
) -> dict[str, Array]:
    """Return the projection of what the network's 'representer' makes of a whole example.

    project, what it gives and raises: as `projected_mean`; the average needs the representer, too.
    Source: FSFM, TargetNetworkViT of fsfm-3c/models_fsfm.py with mask_ratio=0, wolo-wolo/FSFM.
    """
    represent = _averaged(net, params, "representer")
    encoded = net.encode(params, net.inputs(context.batch), None)
    whole = nothing_hidden(len(encoded.tokens), context.length)
    pooled = represent(params, encoded, whole).astype(jnp.float32)
    return {"projection": _project(net, params, project, pooled)}


def _project(net: Net, params: Tree, project: str | None, pooled: Array) -> Array:
    """Return what a function of averaged params makes of features f32[B, D]."""
    if project is None:
        return pooled
    return _averaged(net, params, project)(params, pooled).astype(jnp.float32)


def _averaged(net: Net, params: Tree, name: str) -> Callable[..., Array]:
    """Return a function of the network; raise AverageError where the average lacks its params."""
    function = call_of(net, name)
    if name not in params:
        raise AverageError(
            f"the average has no params {name!r}, but {', '.join(sorted(params))}: add {name!r} "
            "to its `parts`"
        )
    return function
