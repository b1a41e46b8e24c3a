"""The attention of all tokens in the blocks of a plain ViT, computed again from what enters them.

Blocks capture the attention of their first token alone, see `layers.blocks.Attention`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax

from maskmim.models.layers.attention import attention_scores
from maskmim.models.layers.blocks import Attention, Norm
from maskmim.types import Array, Encoded, Tree


def plain_blocks(params: Tree) -> Tree | None:
    """Return the params of the encoder's blocks, stacked along the first axis.

    None unless they are `models.layers.blocks.Block`.
    """
    section = params.get("encoder", {}) if isinstance(params, Mapping) else {}
    blocks = section.get("stack", {}).get("blocks", {})
    return blocks if {"norm1", "attention"} <= set(blocks) else None


def attention_map(blocks: Tree, encoded: Encoded, block: int, epsilon: float) -> Array:
    """Return the attention f32[B, heads, n, n] of one block, queries before keys.

    blocks:  as of `plain_blocks`. encoded: with 'layers' and 'embedded'. block: from 0.
    epsilon: of the encoder's norms.
    """
    entering = encoded.layers[block - 1] if block else encoded.embedded
    return _map_of(jax.tree.map(lambda leaf: leaf[block], blocks), entering, epsilon)


def _map_of(params: Tree, entering: Array, epsilon: float) -> Array:
    """Return the attention f32[B, heads, n, n] of one block from what enters it [B, n, D]."""
    seen: list[Array] = []

    def attend(query: Array, key: Array, value: Array) -> Array:
        scores = attention_scores(query, key) / math.sqrt(query.shape[-1])
        seen.append(jax.nn.softmax(scores, axis=-1))
        return value

    normed = Norm(epsilon, entering.dtype).apply({"params": params["norm1"]}, entering)
    heads = params["attention"]["qkv"]["kernel"].shape[-2]
    Attention(heads, entering.dtype, attend).apply({"params": params["attention"]}, normed)
    return seen[0]
