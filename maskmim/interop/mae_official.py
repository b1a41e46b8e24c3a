"""Weights in the layout of facebookresearch/mae, which is timm's for the encoder.

Names as in models_mae.py: cls_token, pos_embed, patch_embed.proj, blocks.0.attn.qkv, norm,
mask_token, decoder_embed, decoder_pos_embed, decoder_blocks.0, decoder_norm, decoder_pred. The
released .pth files are pickles with the weights under 'model': convert them once, outside maskmim,
to safetensors. Files named mae_pretrain_* hold the encoder alone (`load_encoder`), those named
mae_visualize_* the decoder too.
The model must be built with norm_eps=1e-6.
"""

from __future__ import annotations

from collections.abc import Sequence

from maskmim.interop.blocks import BlockNames, stack_entries
from maskmim.interop.layout import Entry, convolution, linear, norm, tensor, vector
from maskmim.interop.masked_autoencoder import Layout

BLOCK = BlockNames("norm1", ("attn.qkv",), "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


def _encoder(patch: tuple[int, int, int], depth: int) -> Sequence[Entry]:
    return [
        tensor("cls_token", "encoder/class_token"),
        convolution("patch_embed.proj.weight", "encoder/embed/kernel", patch),
        vector("patch_embed.proj.bias", "encoder/embed/bias"),
        *stack_entries(BLOCK, "blocks", "encoder/stack/blocks", depth),
        *norm("norm", "encoder/norm"),
    ]


def _decoder(depth: int) -> Sequence[Entry]:
    return [
        tensor("mask_token", "decoder/mask_token"),
        *linear("decoder_embed", "decoder/embed"),
        *stack_entries(BLOCK, "decoder_blocks", "decoder/stack/blocks", depth),
        *norm("decoder_norm", "decoder/norm"),
        *linear("decoder_pred", "decoder/head_pixels"),
    ]


LAYOUT = Layout(
    title="the layout of facebookresearch/mae",
    encoder=_encoder,
    decoder=_decoder,
    positions=("pos_embed", "decoder_pos_embed"),
    class_token="cls_token",
    canonical=dict,
    of_decoder=lambda name: name.startswith("decoder_") or name == "mask_token",
)
load, load_encoder, export, save = LAYOUT.load, LAYOUT.load_encoder, LAYOUT.export, LAYOUT.save
