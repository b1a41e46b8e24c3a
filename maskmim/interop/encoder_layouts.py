"""Layouts of encoders alone, ViTs over pictures and clips, in files of transformers and timm.

Entries are ours -> theirs, as `interop.layout` has them. A position table is not among them: it
may be computed here and stored there, so that who writes it adds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from maskmim.interop import huggingface, mae_official
from maskmim.interop.blocks import BlockNames, stack_entries
from maskmim.interop.layout import Entry, convolution, norm, tensor, vector
from maskmim.interop.vision_layouts import DINOV2_WITH_REGISTERS

Patch = tuple[int, ...]
STACK = "encoder/stack/blocks"
CLASS_TOKEN = "encoder/class_token"


def hf_vit(patch: Patch, depth: int) -> list[Entry]:
    """Return the entries of transformers' ViTModel."""
    entries = huggingface.LAYOUT.encoder(_picture(patch), depth)
    return [entry._replace(name=entry.name.removeprefix("vit.")) for entry in entries]


def hf_dinov2(patch: Patch, depth: int, *, registers: bool) -> list[Entry]:
    """Return the entries of transformers' Dinov2Model, or Dinov2WithRegistersModel."""
    entries = DINOV2_WITH_REGISTERS.entries(_picture(patch), depth)
    return [entry for entry in entries if registers or entry.path != "encoder/registers"]


def timm_vit(
    patch: Patch,
    depth: int,
    *,
    class_token: bool,
    registers: bool,
    scaled: bool,
    last_norm: bool = True,
) -> list[Entry]:
    """Return the entries of timm's VisionTransformer; scaled: with LayerScale.

    last_norm: with a norm behind the last block.
    """
    entries = list(mae_official.LAYOUT.encoder(_picture(patch), depth))
    if not class_token:
        entries = [entry for entry in entries if entry.path != CLASS_TOKEN]
    if not last_norm:
        entries = [entry for entry in entries if not entry.path.startswith("encoder/norm/")]
    if registers:
        entries.append(tensor("reg_token", "encoder/registers"))
    if scaled:
        entries += scale_entries("blocks.{}.ls{}.gamma", STACK, depth)
    return entries


def hf_videomae(patch: Patch, depth: int) -> list[Entry]:
    """Return the entries of transformers' VideoMAEModel, whose keys have no bias."""
    names = BlockNames(
        norm1="layernorm_before",
        qkv=tuple(f"attention.attention.{role}" for role in ("query", "key", "value")),
        out="attention.output.dense",
        norm2="layernorm_after",
        up="intermediate.dense",
        down="output.dense",
    )
    projection = "embeddings.patch_embeddings.projection"
    return [
        _clip_convolution(f"{projection}.weight", "encoder/embed/kernel", patch),
        vector(f"{projection}.bias", "encoder/embed/bias"),
        *_qv_biases(stack_entries(names, "encoder.layer", STACK, depth)),
        *norm("layernorm", "encoder/norm"),
    ]


def scale_entries(name: str, path: str, depth: int) -> Iterator[Entry]:
    """Yield the factors of LayerScale; name has places for the block and the branch, 1 or 2."""
    for layer in range(depth):
        for branch in (1, 2):
            yield vector(name.format(layer, branch), f"{path}/scale{branch}/scale", (layer,))


def without_key_bias(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries but the biases of keys, which cancel in the softmax."""
    return [entry for entry in entries if not entry.name.endswith(".key.bias")]


def _qv_biases(entries: Iterator[Entry]) -> Iterator[Entry]:
    for entry in without_key_bias(list(entries)):
        name = entry.name.replace(".query.bias", ".q_bias").replace(".value.bias", ".v_bias")
        yield entry._replace(name=name)


def _clip_convolution(name: str, path: str, patch: Patch) -> Entry:
    """Return the entry of an embedding of cubes; theirs is [out, channels, frames, rows, columns].

    patch: (frames, rows, columns, channels).
    """

    def theirs(a: np.ndarray) -> np.ndarray:
        return a.reshape(*patch, -1).transpose(4, 3, 0, 1, 2)

    return Entry(name, path, (), theirs, lambda a, s: a.transpose(2, 3, 4, 1, 0).reshape(s))


def picture_convolution(name: str, path: str, patch: Patch) -> Entry:
    """Return the entry of a patch embedding; patch: (rows, columns, channels)."""
    return convolution(name, path, _picture(patch))


def _picture(patch: Patch) -> tuple[int, int, int]:
    rows, columns, channels = patch
    return rows, columns, channels
