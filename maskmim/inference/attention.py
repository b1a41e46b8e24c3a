"""Attention maps of an encoder's blocks, and their rollout over the depth.

Blocks capture the attention of their first token alone. The maps of all tokens, which rollout and
encoders without a class token need, are those of `models.attention_maps`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from maskmim.inference.encoding import (
    block_number,
    check_capture,
    encoded_by,
    network_name,
    on_grid,
    stream_tokens,
)
from maskmim.inference.loaded import InferenceError, Loaded
from maskmim.models.attention_maps import attention_map, plain_blocks
from maskmim.tree_paths import named_leaves
from maskmim.types import Array, Encoded, Tree


def has_class_token(loaded: Loaded) -> bool:
    """Return whether the first token of the encoder stands for the whole example."""
    names = {path.rpartition("/")[2] for path, _ in named_leaves(loaded.variables.params)}
    return bool({"class_token", "global_token"} & names)


def class_attention(loaded: Loaded, layer: int, stream: str | None) -> Callable[..., Array]:
    """Return (variables, arrays) -> f32[B, heads, *grid] attention of the class token in a block.

    Of a model without a class token: the mean over all patch tokens as queries.
    """
    check_capture(loaded, "attention")
    _, here, grid = stream_tokens(loaded, stream)
    if not has_class_token(loaded):
        maps = token_maps(loaded)

        def mean_over_queries(variables: Tree, arrays: Mapping[str, Array]) -> Array:
            attention, prefix = maps(variables, arrays, layer)
            of_patches = attention[0][:, :, prefix:, prefix:].mean(axis=2)
            return on_grid(of_patches[..., here], grid, 2)

        return mean_over_queries
    encode = encoded_by(loaded, ("attention",))

    def of_class_token(variables: Tree, arrays: Mapping[str, Array]) -> Array:
        encoded = encode(variables, arrays)
        block = block_number(layer, len(encoded.attention))
        of_patches = encoded.attention[block][:, :, encoded.prefix.shape[1] :]
        return on_grid(of_patches[..., here].astype(jnp.float32), grid, 2)

    return of_class_token


def rollout(loaded: Loaded, stream: str | None) -> Callable[..., Array]:
    """Return (variables, arrays) -> f32[B, *grid], attention multiplied over all blocks.

    Half of each block's matrix is the mean over its heads, half the identity of the residual
    branch; the row of the class token is returned, without one the mean over patch tokens.
    Source: Quantifying Attention Flow in Transformers (arXiv 2005.00928), section 3.
    """
    check_capture(loaded, "rollout=True")
    _, here, grid = stream_tokens(loaded, stream)
    maps, by_class = token_maps(loaded), has_class_token(loaded)

    def run(variables: Tree, arrays: Mapping[str, Array]) -> Array:
        attention, prefix = maps(variables, arrays, None)
        flow = jnp.eye(attention[0].shape[-1])[None]
        for block in attention:
            flow = (block.mean(axis=1) + jnp.eye(block.shape[-1])) / 2 @ flow
        row = flow[:, 0] if by_class else flow[:, prefix:].mean(axis=1)
        return on_grid(row[:, prefix:][:, here], grid, 1)

    return run


def token_maps(loaded: Loaded) -> Callable[..., tuple[list[Array], int]]:
    """Return (variables, arrays, layer) -> (attention f32[B, heads, n, n] by block, prefix tokens).

    layer: None for all blocks. Raises InferenceError unless the encoder is a plain ViT, whose
    blocks are `models.layers.blocks.Block`.
    """
    blocks = _plain_blocks(loaded)
    encode = encoded_by(loaded, ("layers", "embedded"))
    epsilon = loaded.config.model.norm_eps

    def run(variables: Tree, arrays: Mapping[str, Array], layer: int | None) -> Any:
        try:
            encoded: Encoded = encode(variables, arrays)
        except InferenceError as error:
            raise _not_plain(loaded) from error
        depth = len(encoded.layers)
        chosen = range(depth) if layer is None else [block_number(layer, depth)]
        params = blocks(variables)
        maps = [attention_map(params, encoded, block, epsilon) for block in chosen]
        return maps, encoded.prefix.shape[1]

    return run


def _plain_blocks(loaded: Loaded) -> Callable[[Tree], Tree]:
    """Return variables -> params of the encoder's blocks, stacked along the first axis."""
    if plain_blocks(loaded.variables.params) is None or "norm_eps" not in loaded.config.model:
        raise _not_plain(loaded)
    return lambda variables: plain_blocks(loaded.method.evaluated(variables).params)


def _not_plain(loaded: Loaded) -> InferenceError:
    return InferenceError(
        "the attention of all tokens, which rollout and encoders without a class token need, "
        f"is that of plain ViTs, and this network is {network_name(loaded)}: use features_map"
    )
