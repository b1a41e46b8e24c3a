"""Layouts of encoders with stages, Swin and ConvNeXt V2, in files of transformers and timm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from maskmim.interop import mae_official
from maskmim.interop.blocks import BlockNames, block_entries
from maskmim.interop.encoder_layouts import Patch, picture_convolution
from maskmim.interop.layout import Entry, kernel, linear, norm, tensor, vector

HF_SWIN_BLOCK = BlockNames(
    norm1="layernorm_before",
    qkv=tuple(f"attention.self.{role}" for role in ("query", "key", "value")),
    out="attention.output.dense",
    norm2="layernorm_after",
    up="intermediate.dense",
    down="output.dense",
)


def hf_swin(patch: Patch, depths: Sequence[int]) -> list[Entry]:
    """Return the entries of transformers' SwinModel."""
    names = "encoder.layers.{}.blocks.{}", "attention.self", "encoder.layers.{}.downsample"
    embedding = "embeddings.patch_embeddings.projection"
    ends = embedding, "embeddings.norm", "layernorm"
    return _swin(patch, depths, HF_SWIN_BLOCK, names, ends, merge_of_next=False)


def timm_swin(patch: Patch, depths: Sequence[int]) -> list[Entry]:
    """Return the entries of timm's SwinTransformer, which merges tokens as a stage begins."""
    names = "layers.{}.blocks.{}", "attn", "layers.{}.downsample"
    ends = "patch_embed.proj", "patch_embed.norm", "norm"
    return _swin(patch, depths, mae_official.BLOCK, names, ends, merge_of_next=True)


def _swin(
    patch: Patch,
    depths: Sequence[int],
    block: BlockNames,
    names: tuple[str, str, str],
    ends: tuple[str, str, str],
    *,
    merge_of_next: bool,
) -> list[Entry]:
    """Return the entries of a Swin Transformer.

    names: of a block (stage, block), of what holds its table of biases, of the merging of a stage.
    ends:  names of the patch embedding, its norm and the last norm.
    merge_of_next: whether the merging after a stage is counted to the next stage.
    """
    (of_block, attention, of_merge), (embedding, embedding_norm, last) = names, ends
    entries = [
        picture_convolution(f"{embedding}.weight", "encoder/embed/kernel", patch),
        vector(f"{embedding}.bias", "encoder/embed/bias"),
        *norm(embedding_norm, "encoder/embed_norm"),
        *norm(last, "encoder/norm"),
    ]
    for stage, depth in enumerate(depths):
        for number in range(depth):
            pair, kind = number // 2, ("plain", "shifted")[number % 2]
            name, path = of_block.format(stage, number), f"encoder/stage{stage}_blocks/{kind}"
            table = f"{name}.{attention}.relative_position_bias_table"
            entries += block_entries(block, name, path, pair)
            entries.append(slice_of(table, f"{path}/relative_bias", (pair,)))
        if stage + 1 < len(depths):
            merge, name = f"encoder/merge{stage}", of_merge.format(stage + merge_of_next)
            entries.append(kernel(f"{name}.reduction.weight", f"{merge}/reduction/kernel"))
            entries += norm(f"{name}.norm", f"{merge}/norm")
    return entries


def hf_convnext(depths: Sequence[int]) -> list[Entry]:
    """Return the entries of transformers' ConvNextV2Model but its last norm, which ours lacks."""
    entries = [
        *_convolution("embeddings.patch_embeddings", "encoder/stem"),
        *norm("embeddings.layernorm", "encoder/stem_norm"),
    ]
    parts = "dwconv", "layernorm", "pwconv1", "grn", "pwconv2"
    for stage, depth in enumerate(depths):
        begin = f"encoder.stages.{stage}"
        if stage:
            entries += _down(f"{begin}.downsampling_layer", stage)
        for layer in range(depth):
            entries += _convnext_block(f"{begin}.layers.{layer}", parts, stage, layer, lead=3)
    return entries


def timm_convnext(depths: Sequence[int]) -> list[Entry]:
    """Return the entries of timm's ConvNeXt but its last norm, which ours lacks."""
    entries = [*_convolution("stem.0", "encoder/stem"), *norm("stem.1", "encoder/stem_norm")]
    parts = "conv_dw", "norm", "mlp.fc1", "mlp.grn", "mlp.fc2"
    for stage, depth in enumerate(depths):
        if stage:
            entries += _down(f"stages.{stage}.downsample", stage)
        for layer in range(depth):
            name = f"stages.{stage}.blocks.{layer}"
            entries += _convnext_block(name, parts, stage, layer, lead=0)
    return entries


def _down(name: str, stage: int) -> Iterator[Entry]:
    yield from norm(f"{name}.0", f"encoder/down{stage}_norm")
    yield from _convolution(f"{name}.1", f"encoder/down{stage}")


def _convnext_block(
    name: str, parts: tuple[str, ...], stage: int, layer: int, *, lead: int
) -> Iterator[Entry]:
    """Yield the entries of a block; lead: dimensions of 1 before the values of their GRN."""
    path, at = f"encoder/stage{stage}_blocks", (layer,)
    depthwise, between, up, grn, down = (f"{name}.{part}" for part in parts)
    yield from _convolution(depthwise, f"{path}/depthwise", at)
    yield from norm(between, f"{path}/norm", at)
    yield from linear(up, f"{path}/mlp/up", at)
    yield from linear(down, f"{path}/mlp/down", at)
    for theirs, ours in (("weight", "gamma"), ("bias", "beta")):
        entry = tensor(f"{grn}.{theirs}", f"{path}/mlp/grn/{ours}", lead=lead)
        yield entry._replace(index=at)


def _convolution(name: str, path: str, index: tuple = ()) -> tuple[Entry, Entry]:
    """Return the entries of a convolution; theirs is [out, in, rows, columns]."""

    def theirs(a: np.ndarray) -> np.ndarray:
        return a.transpose(3, 2, 0, 1)

    weight = f"{name}.weight", f"{path}/kernel", index
    bias = vector(f"{name}.bias", f"{path}/bias", index)
    return Entry(*weight, theirs, lambda a, _: a.transpose(2, 3, 1, 0)), bias


def slice_of(name: str, path: str, index: tuple) -> Entry:
    """Return the entry of an array that equals a slice of ours."""
    return Entry(name, path, index, lambda a: a, lambda a, shape: a.reshape(shape))
