"""Weights in the layout of transformers' ViTMAEForPreTraining.

Files are written as the published ones are (facebook/vit-mae-base). Three spellings are read: the
published one, that of files which transformers 5 writes, and that of its models in memory
(state_dict). The model must be built with norm_eps equal to the config's layer_norm_eps, whose
default there is 1e-12.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from maskmim.interop import masked_autoencoder as mae
from maskmim.interop.layout import Arrays, Entry, Source, convolution, flat, kernel, same
from maskmim.types import Net, Tree

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


def load(net: Net, source: Source) -> Tree:
    """A model's parameters from a safetensors file or a dict of numpy arrays, as numpy float32.

    Raises WeightsError listing names that are missing, unexpected or of another shape, and for a
    position table that is not the model's.
    """
    return mae.load(LAYOUT, net, source)


def load_encoder(net: Net, source: Source) -> Tree:
    """`params['encoder']` alone, from a ViTMAEForPreTraining or a ViTMAEModel; raises as `load`."""
    return mae.load_encoder(LAYOUT, net, source)


def export(net: Net, params: Tree) -> Arrays:
    """A model's parameters under the published names, float32, position tables included.

    Raises WeightsError for a model with parts that the layout has no place for (registers, other
    heads than 'pixels') or without a class token.
    """
    return mae.export(LAYOUT, net, params)


def save(net: Net, params: Tree, path: str | os.PathLike) -> None:
    """Writes `export` as a safetensors file; from_pretrained reads it beside a config.json."""
    mae.save(LAYOUT, net, params, path)


def published(arrays: Arrays) -> Arrays:
    """The arrays under the published names, whichever of the three spellings they have."""

    def spell(name: str) -> str:
        for pattern, replacement in SPELLINGS:
            name = re.sub(pattern, replacement, name)
        return name

    return {spell(name): array for name, array in arrays.items()}


def _encoder(patch: tuple[int, int, int], depth: int) -> Sequence[Entry]:
    embeddings = "vit.embeddings.patch_embeddings.projection"
    return [
        same("vit.embeddings.cls_token", "encoder/class_token"),
        convolution(f"{embeddings}.weight", "encoder/embed/kernel", patch),
        flat(f"{embeddings}.bias", "encoder/embed/bias"),
        *_blocks("vit.encoder.layer", "encoder", depth),
        flat("vit.layernorm.weight", "encoder/norm/norm/scale"),
        flat("vit.layernorm.bias", "encoder/norm/norm/bias"),
    ]


def _decoder(depth: int) -> Sequence[Entry]:
    return [
        same("decoder.mask_token", "decoder/mask_token"),
        kernel("decoder.decoder_embed.weight", "decoder/embed/kernel"),
        flat("decoder.decoder_embed.bias", "decoder/embed/bias"),
        *_blocks("decoder.decoder_layers", "decoder", depth),
        flat("decoder.decoder_norm.weight", "decoder/norm/norm/scale"),
        flat("decoder.decoder_norm.bias", "decoder/norm/norm/bias"),
        kernel("decoder.decoder_pred.weight", "decoder/head_pixels/kernel"),
        flat("decoder.decoder_pred.bias", "decoder/head_pixels/bias"),
    ]


def _blocks(there: str, part: str, depth: int) -> Iterator[Entry]:
    here = f"{part}/stack/blocks"
    for layer in range(depth):
        name, at = f"{there}.{layer}", (layer,)
        yield flat(f"{name}.layernorm_before.weight", f"{here}/norm1/norm/scale", at)
        yield flat(f"{name}.layernorm_before.bias", f"{here}/norm1/norm/bias", at)
        for which, role in enumerate(("query", "key", "value")):
            own = f"{name}.attention.attention.{role}"
            kernel_at, bias_at = (layer, slice(None), which), (layer, which)
            yield kernel(f"{own}.weight", f"{here}/attention/qkv/kernel", kernel_at)
            yield flat(f"{own}.bias", f"{here}/attention/qkv/bias", bias_at)
        merge = f"{name}.attention.output.dense"
        yield kernel(f"{merge}.weight", f"{here}/attention/out/kernel", at, inputs=2)
        yield flat(f"{merge}.bias", f"{here}/attention/out/bias", at)
        yield flat(f"{name}.layernorm_after.weight", f"{here}/norm2/norm/scale", at)
        yield flat(f"{name}.layernorm_after.bias", f"{here}/norm2/norm/bias", at)
        yield kernel(f"{name}.intermediate.dense.weight", f"{here}/mlp/up/kernel", at)
        yield flat(f"{name}.intermediate.dense.bias", f"{here}/mlp/up/bias", at)
        yield kernel(f"{name}.output.dense.weight", f"{here}/mlp/down/kernel", at)
        yield flat(f"{name}.output.dense.bias", f"{here}/mlp/down/bias", at)


LAYOUT = mae.Layout(
    title="the layout of transformers' ViTMAEForPreTraining",
    encoder=_encoder,
    decoder=_decoder,
    positions=("vit.embeddings.position_embeddings", "decoder.decoder_pos_embed"),
    class_token="vit.embeddings.cls_token",
    canonical=published,
    of_decoder=lambda name: name.startswith("decoder."),
)
