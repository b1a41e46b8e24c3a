"""Names of the arrays of vision transformers in files of transformers and timm."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from maskmim.interop import huggingface, mae_official
from maskmim.interop.layout import Arrays, Entry, convolution, flat, kernel, same
from maskmim.interop.vision import Layout


class BlockNames(NamedTuple):
    """Names of the parts of a block, as the layouts spell them."""

    norm1: str
    query: str
    key: str
    value: str
    out: str
    norm2: str
    up: str
    down: str


def blocks_of(there: str, here: str, names: BlockNames, depth: int) -> Iterator[Entry]:
    """Entries of blocks whose query, key and value are maps of their own."""
    for layer in range(depth):
        name, at = f"{there}.{layer}", (layer,)
        for role in ("norm1", "norm2"):
            norm = f"{name}.{getattr(names, role)}"
            yield flat(f"{norm}.weight", f"{here}/{role}/norm/scale", at)
            yield flat(f"{norm}.bias", f"{here}/{role}/norm/bias", at)
        for which, role in enumerate((names.query, names.key, names.value)):
            own, qkv = f"{name}.{role}", f"{here}/attention/qkv"
            yield kernel(f"{own}.weight", f"{qkv}/kernel", (layer, slice(None), which))
            yield flat(f"{own}.bias", f"{qkv}/bias", (layer, which))
        out = f"{name}.{names.out}"
        yield kernel(f"{out}.weight", f"{here}/attention/out/kernel", at, inputs=2)
        yield flat(f"{out}.bias", f"{here}/attention/out/bias", at)
        for own, path in ((names.up, "up"), (names.down, "down")):
            yield kernel(f"{name}.{own}.weight", f"{here}/mlp/{path}/kernel", at)
            yield flat(f"{name}.{own}.bias", f"{here}/mlp/{path}/bias", at)


def norm_of(there: str, here: str) -> list[Entry]:
    """Entries of a layer norm."""
    return [flat(f"{there}.weight", f"{here}/scale"), flat(f"{there}.bias", f"{here}/bias")]


def _dinov2(registers: bool) -> Callable[[tuple[int, int, int], int], Sequence[Entry]]:
    attention = "attention.attention"
    names = BlockNames(
        *("norm1", f"{attention}.query", f"{attention}.key", f"{attention}.value"),
        *("attention.output.dense", "norm2", "mlp.fc1", "mlp.fc2"),
    )
    projection, here = "embeddings.patch_embeddings.projection", "encoder/stack/blocks"

    def entries(patch: tuple[int, int, int], depth: int) -> list[Entry]:
        found = [
            same("embeddings.cls_token", "encoder/class_token"),
            convolution(f"{projection}.weight", "encoder/embed/kernel", patch),
            flat(f"{projection}.bias", "encoder/embed/bias"),
            *blocks_of("encoder.layer", here, names, depth),
            *norm_of("layernorm", "encoder/norm/norm"),
        ]
        for layer in range(depth):
            for branch in (1, 2):
                name = f"encoder.layer.{layer}.layer_scale{branch}.lambda1"
                found.append(flat(name, f"{here}/scale{branch}/scale", (layer,)))
        if registers:
            found.append(same("embeddings.register_tokens", "encoder/registers"))
        return found

    return entries


def _clip(patch: tuple[int, int, int], depth: int) -> list[Entry]:
    attention = "self_attn"
    names = BlockNames(
        *("layer_norm1", f"{attention}.q_proj", f"{attention}.k_proj", f"{attention}.v_proj"),
        *(f"{attention}.out_proj", "layer_norm2", "mlp.fc1", "mlp.fc2"),
    )
    embedding = "vision_model.embeddings.patch_embedding.weight"
    return [
        flat("vision_model.embeddings.class_embedding", "encoder/class_token"),
        convolution(embedding, "encoder/embed/kernel", patch),
        *norm_of("vision_model.pre_layrnorm", "encoder/first_norm/norm"),
        *blocks_of("vision_model.encoder.layers", "encoder/blocks", names, depth),
        *norm_of("vision_model.post_layernorm", "encoder/norm/norm"),
    ]


def _spelt(*rules: tuple[str, str]) -> Callable[[Arrays], Arrays]:
    """Renaming by patterns, all of them on every name."""

    def canonical(arrays: Arrays) -> Arrays:
        for pattern, wanted in rules:
            arrays = {re.sub(pattern, wanted, name): array for name, array in arrays.items()}
        return arrays

    return canonical


_DINOV2_NAMES = _spelt(
    (r"^dinov2(_with_registers)?\.", ""),
    (r"\.attention\.([qkv])_proj\.", r".attention.attention.\1."),
    (r"attention\.attention\.q\.", "attention.attention.query."),
    (r"attention\.attention\.k\.", "attention.attention.key."),
    (r"attention\.attention\.v\.", "attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
)
_DINOV2_TABLE = ("embeddings.position_embeddings", 1)
_DINOV2_OTHERS = r"^(classifier\.|embeddings\.mask_token$)"

VIT = Layout(
    "transformers' ViTModel",
    huggingface.published,
    huggingface.LAYOUT.encoder,
    (huggingface.LAYOUT.positions[0], 1),
    r"^(vit\.pooler|pooler|classifier|decoder)\.|\.mask_token$",
)
TIMM = Layout(
    "timm's vision transformer",
    dict,
    mae_official.LAYOUT.encoder,
    (mae_official.LAYOUT.positions[0], 1),
    r"^(head|decoder_\w+)\.|^(decoder_pos_embed|mask_token)$",
)
DINOV2 = Layout(
    "transformers' Dinov2Model", _DINOV2_NAMES, _dinov2(False), _DINOV2_TABLE, _DINOV2_OTHERS
)
DINOV2_WITH_REGISTERS = Layout(
    "transformers' Dinov2WithRegistersModel",
    _DINOV2_NAMES,
    _dinov2(True),
    _DINOV2_TABLE,
    _DINOV2_OTHERS,
)
CLIP = Layout(
    "transformers' CLIPVisionModel",
    _spelt((r"^(embeddings|encoder|pre_layrnorm|post_layernorm)\.", r"vision_model.\1.")),
    _clip,
    ("vision_model.embeddings.position_embedding.weight", 0),
    r"^(text_model|text_projection|visual_projection|logit_scale)|position_ids$",
)
