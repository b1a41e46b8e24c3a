"""Tokens that trained weights compute from whole examples or from parts of them, as hints.

The functions are bricks of `teachers.average` and `teachers.current`; `predicted_tokens`, which
needs the mask, is one of `teachers.average.average_under_mask`.
"""

from __future__ import annotations

import jax.numpy as jnp

from maskmim.config import facts
from maskmim.config.ranges import NonNegativeInt, Positive, PositiveInt
from maskmim.models.captured_blocks import block_output, class_token
from maskmim.models.layers.errors import ModelError
from maskmim.models.mae_decoder import scatter_tokens
from maskmim.types import Array, Context, Encoded, Mask, Net, Tree


@facts.finder(gives=("features",))
def last_tokens(net: Net, params: Tree, context: Context) -> dict[str, Array]:
    """Return the encoder's output for every token of the whole example, with no path dropped.

    Gives 'features' f32[B, N, D], as `teachers.frozen` does with networks that do not learn.
    """
    return {"features": net.encode(params, net.inputs(context.batch), None).tokens}


@facts.finder(gives=("features",))
def patch_embeddings(net: Net, params: Tree, context: Context) -> dict[str, Array]:
    """Return what the first linear layer makes of every patch, without bias and positions.

    Gives 'features' f32[B, N, D]. Differences of tokens are those of the layer's output.
    Raises ModelError for an encoder whose patches do not enter by one linear layer 'embed'.
    """
    layer = params["encoder"].get("embed", {})
    if "kernel" not in layer:
        raise ModelError(
            "the encoder has no linear layer 'embed' of patches: use features of another brick, "
            "such as maskmim.teachers.features.block_tokens"
        )
    patches = net.patchify(net.inputs(context.batch)).astype(jnp.float32)
    return {"features": patches @ layer["kernel"].astype(jnp.float32)}


@facts.finder(gives=("features",))
def block_tokens(
    net: Net, params: Tree, context: Context, *, layer: NonNegativeInt
) -> dict[str, Array]:
    """Return the output of one block for every token of the whole example, with no path dropped.

    layer: as of `encode_block`.
    Gives 'features' f32[B, N, D].
    """
    return {"features": encode_block(net, params, net.inputs(context.batch), layer).tokens}


@facts.finder(gives=("features", "class_feature"))
def block_tokens_and_class(
    net: Net, params: Tree, context: Context, *, layer: NonNegativeInt
) -> dict[str, Array]:
    """Return what `block_tokens` does, and the class token's output of the same block.

    Gives 'features' f32[B, N, D] and 'class_feature' f32[B, D].
    Raises ModelError where the encoder has no class token.
    """
    encoded = encode_block(net, params, net.inputs(context.batch), layer)
    return {"features": encoded.tokens, "class_feature": class_token(encoded.prefix)[:, 0]}


@facts.finder(gives=("features",))
def averaged_mlps(
    net: Net,
    params: Tree,
    context: Context,
    *,
    layers: PositiveInt,
    epsilon: Positive = 1e-5,
) -> dict[str, Array]:
    """Return the mean over the last blocks of what their MLPs make of the whole example.

    layers: how many blocks are averaged. Each is standardised before: every channel has mean 0 and
    variance 1 over the tokens of an example, (x - mean) / sqrt(variance + epsilon), biased.
    Gives 'features' f32[B, N, D]. Raises ModelError for more layers than the encoder has.
    Source: data2vec 2.0 (arXiv 2212.07525), make_targets of data2vec2.py with
    instance_norm_target_layer and without end_of_block_targets, facebookresearch/fairseq.
    """
    encoded = net.encode(params, net.inputs(context.batch), None, capture=("mlps",))
    if layers > len(encoded.mlps):
        raise ModelError(f"{layers} layers to average: the encoder has {len(encoded.mlps)} blocks")
    values = encoded.mlps[-layers:, :, encoded.prefix.shape[1] :].astype(jnp.float32)
    mean = jnp.mean(values, axis=2, keepdims=True)
    variance = jnp.var(values, axis=2, keepdims=True)
    return {"features": jnp.mean((values - mean) / jnp.sqrt(variance + epsilon), axis=0)}


@facts.finder(gives=("features",))
def predicted_tokens(
    net: Net, params: Tree, context: Context, mask: Mask, *, given: str | None = None
) -> dict[str, Array]:
    """Return the encoder's output for the predicted tokens, which enter it without the others.

    given: name of an entry of `Encoded.given` to return instead, prefix first; None for the output.
    Gives 'features' f32[B, N, D], 0 for tokens that are not predicted.
    Raises ModelError for an encoder that gives no such entry.
    """
    encoded = encode_predicted(net, params, context, mask)
    if given is None:
        tokens = encoded.tokens
    elif given in encoded.given:
        tokens = encoded.given[given][:, encoded.prefix.shape[1] :]
    else:
        there = ", ".join(sorted(encoded.given)) or "nothing"
        raise ModelError(f"the encoder gives {there}, no {given!r}: change `given` of the teacher")
    zero = jnp.zeros((), tokens.dtype)
    return {"features": scatter_tokens(zero, tokens, mask.predict, context.length)}


def encode_predicted(net: Net, params: Tree, context: Context, mask: Mask) -> Encoded:
    """Encode the predicted tokens alone, none of them as hidden and with no path dropped."""
    swapped = mask._replace(visible=mask.predict, hidden=~mask.hidden)
    return net.encode(params, net.inputs(context.batch), swapped)


def encode_block(
    net: Net,
    params: Tree,
    inputs: Array,
    layer: int,
    mask: Mask | None = None,
    capture: tuple[str, ...] = (),
) -> Encoded:
    """Return the output of one block of an encoder, before the last norm.

    layer: counted from 1; 0 for the tokens with their positions, which enter the first block.
    mask:  whose visible tokens enter; None for whole examples.
    capture: what else to return, up to that block.
    Raises ModelError for a block that does not exist.
    """
    if layer:
        needed = tuple(dict.fromkeys((*capture, "layers")))
        return block_output(net.encode(params, inputs, mask, capture=needed), layer)
    encoded = net.encode(params, inputs, mask, capture=("embedded",))
    prefix = encoded.prefix.shape[1]
    return Encoded(encoded.embedded[:, :prefix], encoded.embedded[:, prefix:])
