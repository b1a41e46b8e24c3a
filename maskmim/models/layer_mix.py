"""Learnt mixtures of the outputs of an encoder's blocks, one for each layer of a teacher."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from maskmim.config.ranges import Depth, DtypeName, PositiveInt
from maskmim.models.layers.blocks import xavier
from maskmim.models.layers.errors import ModelError
from maskmim.types import Array, LearnedFunction, Tree

# Added to the identity that a mixture starts from.
OFFSET = 0.01


def layer_mix(
    width: int,
    *,
    depth: Depth = 12,
    layers: tuple[PositiveInt, ...] = (8, 9, 10, 11, 12),
    values: PositiveInt = 768,
    start: Literal["same", "mean"] = "same",
    dtype: DtypeName = "float32",
) -> LearnedFunction:
    """Return a mixture of all blocks' outputs for each layer of a teacher, and a dense layer on it.

    depth:  blocks of the encoder.
    layers: of the teacher, from 1, for which there are predictions, in this order.
    values: of the teacher's tokens.
    start:  of the weights of a mixture: 'same', 1 for the block of the layer's own number, and
            0.01 added to all; 'mean', equal weights, for a teacher of another depth.
    dtype:  of the dense layers; the mixture and results are float32.
    Call: (params, f32[depth, B, n, width]) -> f32[len(layers), B, n, values].
    params: {'mix': f32[len(layers), depth], 'heads': {'kernel': f32[len(layers), width,
    values], 'bias': f32[len(layers), values]}}; kernels start as Xavier's uniform, biases at 0.
    Raises ModelError for 'same' of a layer that the encoder lacks and, when called, for another
    depth.
    Source: MaskAlign (arXiv 2211.08887), distill_weights ('linear': same, 'sum': mean) and
    distill_heads of models_pretrain.py, OpenDriveLab/maskalign. Difference: there, layers without a
    loss have weights and heads too, which nothing trains.
    """
    if start == "same" and max(layers) > depth:
        raise ModelError(
            f"the mixture for layer {max(layers)} cannot start from block {max(layers)} of "
            f"{depth}: set start='mean'"
        )

    def init(key: Array) -> Tree:
        rows = jnp.eye(depth, dtype=jnp.float32)[jnp.asarray(layers) - 1] + OFFSET
        mean = jnp.full((len(layers), depth), 1 / depth)
        kernels = [
            xavier(one, (width, values), jnp.float32) for one in jax.random.split(key, len(layers))
        ]
        heads = {"kernel": jnp.stack(kernels), "bias": jnp.zeros((len(layers), values))}
        return {"mix": rows if start == "same" else mean, "heads": heads}

    def call(params: Tree, blocks: Array) -> Array:
        if len(blocks) != depth:
            raise ModelError(
                f"a mixture of {depth} blocks gets {len(blocks)}: set its `depth` under "
                "config.calls to that of the encoder"
            )
        mixed = jnp.einsum("ls,sbnd->lbnd", params["mix"], blocks.astype(jnp.float32))
        kernel = params["heads"]["kernel"].astype(dtype)
        made = jnp.einsum("lbnd,ldv->lbnv", mixed.astype(dtype), kernel).astype(jnp.float32)
        return made + params["heads"]["bias"][:, None, None]

    words = f"{len(layers)} mixtures of {depth} blocks, each with a dense layer of {values} values"
    return LearnedFunction(init, call, words)
