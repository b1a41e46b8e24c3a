"""Weights in the layout of facebookresearch/mae, which is timm's for the encoder.

Names as in models_mae.py: cls_token, pos_embed, patch_embed.proj, blocks.0.attn.qkv, norm,
mask_token, decoder_embed, decoder_pos_embed, decoder_blocks.0, decoder_norm, decoder_pred. The
released .pth files are pickles with the weights under 'model': convert them once, outside maskmim,
to safetensors. Files named mae_pretrain_* hold the encoder alone (`load_encoder`), those named
mae_visualize_* the decoder too.
The model must be built with norm_eps=1e-6.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from maskmim.interop import masked_autoencoder as mae
from maskmim.interop.layout import Arrays, Entry, Source, convolution, flat, linear, norm, same
from maskmim.types import Net, Tree


def load(net: Net, source: Source) -> Tree:
    """A model's parameters from a safetensors file or a dict of numpy arrays, as numpy float32.

    Raises WeightsError listing names that are missing, unexpected or of another shape, and for a
    position table that is not the model's.
    """
    return mae.load(LAYOUT, net, source)


def load_encoder(net: Net, source: Source) -> Tree:
    """`params['encoder']` alone, from a file with or without a decoder; raises as `load` does."""
    return mae.load_encoder(LAYOUT, net, source)


def export(net: Net, params: Tree) -> Arrays:
    """A model's parameters under the official names, float32, position tables included.

    Raises WeightsError for a model with parts that the layout has no place for (registers, other
    heads than 'pixels') or without a class token.
    """
    return mae.export(LAYOUT, net, params)


def save(net: Net, params: Tree, path: str | os.PathLike) -> None:
    """Writes `export` as a safetensors file."""
    mae.save(LAYOUT, net, params, path)


def _encoder(patch: tuple[int, int, int], depth: int) -> Sequence[Entry]:
    return [
        same("cls_token", "encoder/class_token"),
        convolution("patch_embed.proj.weight", "encoder/embed/kernel", patch),
        flat("patch_embed.proj.bias", "encoder/embed/bias"),
        *_blocks("blocks", "encoder", depth),
        flat("norm.weight", "encoder/norm/norm/scale"),
        flat("norm.bias", "encoder/norm/norm/bias"),
    ]


def _decoder(depth: int) -> Sequence[Entry]:
    return [
        same("mask_token", "decoder/mask_token"),
        *linear("decoder_embed", "decoder/embed"),
        *_blocks("decoder_blocks", "decoder", depth),
        *norm("decoder_norm", "decoder/norm"),
        *linear("decoder_pred", "decoder/head_pixels"),
    ]


def _blocks(there: str, part: str, depth: int) -> Iterator[Entry]:
    here = f"{part}/stack/blocks"
    for layer in range(depth):
        name, at = f"{there}.{layer}", (layer,)
        yield from norm(f"{name}.norm1", f"{here}/norm1", at)
        yield from linear(f"{name}.attn.qkv", f"{here}/attention/qkv", at)
        yield from linear(f"{name}.attn.proj", f"{here}/attention/out", at, inputs=2)
        yield from norm(f"{name}.norm2", f"{here}/norm2", at)
        yield from linear(f"{name}.mlp.fc1", f"{here}/mlp/up", at)
        yield from linear(f"{name}.mlp.fc2", f"{here}/mlp/down", at)


LAYOUT = mae.Layout(
    title="the layout of facebookresearch/mae",
    encoder=_encoder,
    decoder=_decoder,
    positions=("pos_embed", "decoder_pos_embed"),
    class_token="cls_token",
    canonical=dict,
    of_decoder=lambda name: name.startswith("decoder_") or name == "mask_token",
)
