"""Layouts of BEiT's encoder with one table of position biases, in transformers and timm."""

from __future__ import annotations

from collections.abc import Iterator

from maskmim.interop import mae_official
from maskmim.interop.blocks import BlockNames, stack_entries
from maskmim.interop.encoder_layouts import (
    CLASS_TOKEN,
    Patch,
    picture_convolution,
    scale_entries,
    without_key_bias,
)
from maskmim.interop.layout import Entry, norm, tensor, vector

BLOCKS, TABLE = "encoder/blocks", "encoder/relative_bias"
HF_BLOCK = BlockNames(
    norm1="layernorm_before",
    qkv=tuple(f"attention.attention.{role}" for role in ("query", "key", "value")),
    out="attention.output.dense",
    norm2="layernorm_after",
    up="intermediate.dense",
    down="output.dense",
)


def hf_beit(patch: Patch, depth: int) -> list[Entry]:
    """Return the entries of transformers' BeitModel, whose keys have no bias."""
    projection = "embeddings.patch_embeddings.projection"
    table = "encoder.relative_position_bias.relative_position_bias_table"
    blocks = list(stack_entries(HF_BLOCK, "encoder.layer", BLOCKS, depth))
    return [
        tensor("embeddings.cls_token", CLASS_TOKEN),
        picture_convolution(f"{projection}.weight", "encoder/embed/kernel", patch),
        vector(f"{projection}.bias", "encoder/embed/bias"),
        tensor(table, TABLE),
        *without_key_bias(blocks),
        *scale_entries("encoder.layer.{}.lambda_{}", BLOCKS, depth),
        *norm("layernorm", "encoder/norm"),
    ]


def timm_beit(patch: Patch, depth: int) -> list[Entry]:
    """Return the entries of timm's Beit, whose queries and values have a bias each."""
    return [
        tensor("cls_token", CLASS_TOKEN),
        picture_convolution("patch_embed.proj.weight", "encoder/embed/kernel", patch),
        vector("patch_embed.proj.bias", "encoder/embed/bias"),
        tensor("rel_pos_bias.relative_position_bias_table", TABLE),
        *_timm_blocks(depth),
        *scale_entries("blocks.{}.gamma_{}", BLOCKS, depth),
        *norm("norm", "encoder/norm"),
    ]


def _timm_blocks(depth: int) -> Iterator[Entry]:
    for entry in stack_entries(mae_official.BLOCK, "blocks", BLOCKS, depth):
        if not entry.name.endswith("attn.qkv.bias"):
            yield entry
            continue
        for role, name in ((0, "q_bias"), (2, "v_bias")):
            theirs = entry.name.replace("qkv.bias", name)
            yield vector(theirs, entry.path, (*entry.index, role))
