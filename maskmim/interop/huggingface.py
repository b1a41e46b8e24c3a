"""Weights in the layout of transformers' ViTMAEForPreTraining.

Files are written like the published ones (facebook/vit-mae-base); from_pretrained reads them beside
a config.json. Three spellings are read: the published one, that of files which transformers 5
writes, and that of its models in memory (state_dict). `load_encoder` reads a ViTMAEModel too. The
model must be built with norm_eps equal to the config's layer_norm_eps, 1e-12 by default in
transformers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from maskmim.interop.blocks import BlockNames, stack_entries
from maskmim.interop.layout import Arrays, Entry, convolution, linear, norm, tensor, vector
from maskmim.interop.masked_autoencoder import Layout

# What transformers 5 writes or holds -> the published spelling.
SPELLINGS = (
    (r"^(embeddings|encoder|layers|layernorm)\.", r"vit.\1."),
    (r"^vit\.layers\.", "vit.encoder.layer."),
    (r"^decoder\.decoder_encoder\.layer\.", "decoder.decoder_layers."),
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
BLOCK = BlockNames(
    norm1="layernorm_before",
    qkv=tuple(f"attention.attention.{role}" for role in ("query", "key", "value")),
    out="attention.output.dense",
    norm2="layernorm_after",
    up="intermediate.dense",
    down="output.dense",
)


def to_published_names(arrays: Arrays) -> Arrays:
    """Return the arrays under the published names, whichever of the three spellings they have."""

    def spell(name: str) -> str:
        for pattern, replacement in SPELLINGS:
            name = re.sub(pattern, replacement, name)
        return name

    return {spell(name): array for name, array in arrays.items()}


def _encoder(patch: tuple[int, int, int], depth: int) -> Sequence[Entry]:
    projection = "vit.embeddings.patch_embeddings.projection"
    return [
        tensor("vit.embeddings.cls_token", "encoder/class_token"),
        convolution(f"{projection}.weight", "encoder/embed/kernel", patch),
        vector(f"{projection}.bias", "encoder/embed/bias"),
        *stack_entries(BLOCK, "vit.encoder.layer", "encoder/stack/blocks", depth),
        *norm("vit.layernorm", "encoder/norm"),
    ]


def _decoder(depth: int) -> Sequence[Entry]:
    return [
        tensor("decoder.mask_token", "decoder/mask_token"),
        *linear("decoder.decoder_embed", "decoder/embed"),
        *stack_entries(BLOCK, "decoder.decoder_layers", "decoder/stack/blocks", depth),
        *norm("decoder.decoder_norm", "decoder/norm"),
        *linear("decoder.decoder_pred", "decoder/head_pixels"),
    ]


LAYOUT = Layout(
    title="the layout of transformers' ViTMAEForPreTraining",
    encoder=_encoder,
    decoder=_decoder,
    positions=("vit.embeddings.position_embeddings", "decoder.decoder_pos_embed"),
    class_token="vit.embeddings.cls_token",
    canonical=to_published_names,
    of_decoder=lambda name: name.startswith("decoder."),
)
load, load_encoder, export, save = LAYOUT.load, LAYOUT.load_encoder, LAYOUT.export, LAYOUT.save
