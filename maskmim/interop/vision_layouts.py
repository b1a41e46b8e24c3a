"""Names of the arrays of vision transformers in files of transformers and timm."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from maskmim.interop import huggingface, mae_official
from maskmim.interop.blocks import BlockNames, stack_entries
from maskmim.interop.layout import Arrays, Entry, convolution, norm, tensor, vector
from maskmim.interop.vision import Layout

_DINOV2_BLOCK = BlockNames(
    norm1="norm1",
    qkv=tuple(f"attention.attention.{role}" for role in ("query", "key", "value")),
    out="attention.output.dense",
    norm2="norm2",
    up="mlp.fc1",
    down="mlp.fc2",
)
CLIP_BLOCK = BlockNames(
    norm1="layer_norm1",
    qkv=tuple(f"self_attn.{role}_proj" for role in "qkv"),
    out="self_attn.out_proj",
    norm2="layer_norm2",
    up="mlp.fc1",
    down="mlp.fc2",
)


def _dinov2(registers: bool) -> Callable[[tuple[int, int, int], int], Sequence[Entry]]:
    projection, blocks = "embeddings.patch_embeddings.projection", "encoder/stack/blocks"

    def entries(patch: tuple[int, int, int], depth: int) -> list[Entry]:
        factors = [
            vector(
                f"encoder.layer.{layer}.layer_scale{branch}.lambda1",
                f"{blocks}/scale{branch}/scale",
                (layer,),
            )
            for layer in range(depth)
            for branch in (1, 2)
        ]
        tokens = [tensor("embeddings.register_tokens", "encoder/registers")] if registers else []
        return [
            tensor("embeddings.cls_token", "encoder/class_token"),
            convolution(f"{projection}.weight", "encoder/embed/kernel", patch),
            vector(f"{projection}.bias", "encoder/embed/bias"),
            *stack_entries(_DINOV2_BLOCK, "encoder.layer", blocks, depth),
            *norm("layernorm", "encoder/norm"),
            *factors,
            *tokens,
        ]

    return entries


def _clip(patch: tuple[int, int, int], depth: int) -> list[Entry]:
    embedding = "vision_model.embeddings.patch_embedding.weight"
    return [
        vector("vision_model.embeddings.class_embedding", "encoder/class_token"),
        convolution(embedding, "encoder/embed/kernel", patch),
        *norm("vision_model.pre_layrnorm", "encoder/first_norm"),
        *stack_entries(CLIP_BLOCK, "vision_model.encoder.layers", "encoder/blocks", depth),
        *norm("vision_model.post_layernorm", "encoder/norm"),
    ]


def _renaming(*rules: tuple[str, str]) -> Callable[[Arrays], Arrays]:
    """Return a function that applies all (pattern, replacement) rules to every name."""

    def canonical(arrays: Arrays) -> Arrays:
        for pattern, replacement in rules:
            arrays = {re.sub(pattern, replacement, name): array for name, array in arrays.items()}
        return arrays

    return canonical


_DINOV2_NAMES = _renaming(
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
    huggingface.to_published_names,
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
    _renaming((r"^(embeddings|encoder|pre_layrnorm|post_layernorm)\.", r"vision_model.\1.")),
    _clip,
    ("vision_model.embeddings.position_embedding.weight", 0),
    r"^(text_model|text_projection|visual_projection|logit_scale)|position_ids$",
)
