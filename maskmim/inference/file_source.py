"""Weights of other codebases as a source: plain ViTs in files of transformers, timm and MAE.

The network is read off the shapes of the file; what shapes do not say (heads, the input's mean and
deviation, the epsilon of norms) comes from the JSON files beside it, from what is usual, or from
the caller.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base
from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD
from maskmim.inference.loaded import InferenceError, Loaded, in_float32_on_cpu
from maskmim.inference.own_file_source import of_own_file
from maskmim.interop import begin_file, huggingface, own_layout, vision, vision_layouts
from maskmim.interop.difference import WeightsError
from maskmim.interop.fitting import Selection
from maskmim.interop.layout import Arrays, nest, read_arrays, shapes_of
from maskmim.models.encoder_only import vit_encoder
from maskmim.models.masked_vit import vit_mae
from maskmim.models.vit import VARIANTS
from maskmim.targets.pixels import patches
from maskmim.training.build import build_method
from maskmim.types import Variables

DINO = vision_layouts.DINOV2, vision_layouts.DINOV2_WITH_REGISTERS
# Of transformers' configs and of timm and MAE, whose files do not say it.
EPSILON = 1e-6
DECODER_HEADS = 16
IS_SAID = "leave heads, decoder_heads, mean and std out"


class Said(NamedTuple):
    """What a caller says of a file that its shapes do not; None for what files or custom say."""

    heads: int | None = None
    decoder_heads: int | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None


class Facts(NamedTuple):
    """What config.json and preprocessor_config.json beside the weights say; None for nothing."""

    heads: int | None
    decoder_heads: int | None
    epsilon: float | None
    size: tuple[int, int] | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    norm_pix: bool | None


class Shape(NamedTuple):
    """The encoder and the decoder of a file: depths, widths, and the patch (height, width).

    layout: one of `loaded.LAYOUTS`. last_norm: whether there is a norm behind the last block.
    """

    layout: str
    depth: int
    width: int
    hidden: int
    patch: tuple[int, int]
    channels: int
    rows: int
    registers: int = 0
    decoder: tuple[int, int] | None = None
    last_norm: bool = True


def of_file(text: str, said: Said) -> Loaded:
    """Return the network of a safetensors file or of a folder with one.

    text: as of `begin.file`. Layouts: transformers' ViTMAE and ViT, timm's ViT, the official MAE,
    and transformers' DINOv2 with and without registers (an encoder alone).
    Raises WeightsError for a path without such weights, and InferenceError where heads are neither
    given nor usual.
    """
    files = begin_file.find_files(text)
    if own_layout.is_own(files[0]):
        if any(value is not None for value in said):
            raise InferenceError(f"{text} is of a run, whose config.json says all of it: {IS_SAID}")
        return of_own_file(text, files[0])
    arrays = _read(files)
    dino = _dino_layout(arrays)
    shape = _shape(text, arrays)
    config, remarks = _config(shape, read_facts(files[0].parent), said, text)
    config = in_float32_on_cpu(config)
    spec, method = build_method(config)
    shapes = shapes_of(method.net)
    if dino:
        own = {name.removeprefix("encoder/"): one for name, one in shapes.items()}
        own = {name: one for name, one in own.items() if name != "positions"}
        patch = (*shape.patch, shape.channels)
        params = {"encoder": vision.load((dino,), str(files[0]), own, patch)}
    else:
        model = begin_file.Model(spec, method.net, shapes, config.model)
        source = begin_file.of_file(text, model, Selection())
        if missing := sorted(set(shapes) - set(source.arrays)):
            raise WeightsError(f"{text} lacks {', '.join(missing[:3])} of its network")
        params, remarks = nest(dict(source.arrays)), [*remarks, *source.remarks]
    decoder = shape.decoder is not None
    about = {"remarks": tuple(remarks), "decoder": decoder, "layout": shape.layout}
    return Loaded(config, spec, method, Variables(params, {}, ()), text, **about)


def config_of_file(text: str) -> ConfigDict:
    """Return `input` and `model` of a file's network, in a config, without its weights.

    text: as of `of_file`. Raises as `of_file`; InferenceError for a file of a run, which has a
    config.json that says all of it.
    """
    files = begin_file.find_files(text)
    if own_layout.is_own(files[0]):
        raise InferenceError(f"{text} is of a run: begin from the run, or name its variant")
    return _config(_shape(text, _read(files)), read_facts(files[0].parent), Said(), text)[0]


def _read(files: Sequence[Path]) -> Arrays:
    arrays: Arrays = {}
    for file in files:
        arrays |= read_arrays(file)
    return arrays


def _shape(text: str, arrays: Arrays) -> Shape:
    """Return the shape of a network in any of the layouts."""
    dino = _dino_layout(arrays)
    return _dino_shape(dino.canonical(arrays)) if dino else _vit_shape(text, arrays)


def read_facts(folder: Path) -> Facts:
    """Return what JSON files in the folder of some weights say of their network."""
    network, images = _json(folder / "config.json"), _json(folder / "preprocessor_config.json")
    pretrained = network.get("pretrained_cfg", {})
    images = {
        **{"image_mean": pretrained.get("mean"), "image_std": pretrained.get("std")},
        **images,
    }
    size = network.get("image_size") or pretrained.get("input_size")
    size = tuple(size[-2:]) if isinstance(size, list) else (size, size) if size else None
    return Facts(
        network.get("num_attention_heads") or network.get("model_args", {}).get("num_heads"),
        network.get("decoder_num_attention_heads"),
        network.get("layer_norm_eps"),
        size,
        _numbers(images.get("image_mean")),
        _numbers(images.get("image_std")),
        network.get("norm_pix_loss"),
    )


def _json(path: Path) -> Mapping[str, Any]:
    """Return the object in a JSON file; nothing where there is none."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, Mapping) else {}


def _numbers(values: Any) -> tuple[float, ...] | None:
    return tuple(map(float, values)) if isinstance(values, list) and values else None


def _vit_shape(text: str, arrays: Arrays) -> Shape:
    """Return the shape of a ViT in one of the layouts of `begin_file.KNOWN`."""
    try:
        known, named = begin_file.recognise(text, arrays)
    except WeightsError as error:
        raise WeightsError(f"{error}; DINOv2 of transformers is read too") from None
    if odd := [name for name in arrays if re.search(r"^reg_token$|\.ls\d\.gamma$", name)]:
        raise WeightsError(
            f"{text} is of timm and has {odd[0]}: timm's models with registers or LayerScale are "
            "not read; give transformers' file of these weights"
        )
    layout = known.layout
    kernel = next((a for name, a in named.items() if "embed" in name and a.ndim == 4), None)
    table = named.get(layout.positions[0])
    if kernel is None or table is None:
        raise WeightsError(f"{text} has no patch embedding or no table of positions: no plain ViT")
    decoders = {name: array for name, array in named.items() if layout.of_decoder(name)}
    encoders = {name: array for name, array in named.items() if name not in decoders}
    decoder = None
    if any(re.search(r"decoder_(pred|norm)\.", name) for name in decoders):
        blocks = {name: a for name, a in decoders.items() if re.search(r"\.\d+\.", name)}
        embed = next(a for name, a in decoders.items() if name.endswith("decoder_embed.weight"))
        decoder = _depth(blocks), embed.shape[0]
    depth, hidden = _depth(encoders), _hidden(encoders)
    width, channels, *patch = kernel.shape
    name = "hf" if layout is huggingface.LAYOUT else "mae" if decoder else "timm"
    sizes = depth, width, hidden, tuple(patch), channels, table.shape[-2]
    last_norm = decoder is not None or bool({"norm.weight", "vit.layernorm.weight"} & set(named))
    return Shape(name, *sizes, decoder=decoder, last_norm=last_norm)


def _dino_layout(arrays: Arrays) -> vision.Layout | None:
    """Return the layout of a DINOv2 of transformers; None for other arrays."""
    plain, with_registers = DINO
    named = plain.canonical(arrays)
    if plain.table[0] not in named or not any(".lambda1" in name for name in arrays):
        return None
    return with_registers if "embeddings.register_tokens" in named else plain


def _dino_shape(named: Arrays) -> Shape:
    """Return the shape of a DINOv2 of transformers."""
    kernel = named["embeddings.patch_embeddings.projection.weight"]
    registers = named.get("embeddings.register_tokens")
    width, channels, *patch = kernel.shape
    rows = named["embeddings.position_embeddings"].shape[-2]
    count = 0 if registers is None else registers.shape[-2]
    sizes = _depth(named), width, _hidden(named), tuple(patch), channels, rows
    return Shape("dinov2", *sizes, count)


def _depth(arrays: Mapping[str, np.ndarray]) -> int:
    """Return the number of blocks, by the numbers in the names."""
    return 1 + max(int(found[1]) for name in arrays if (found := re.search(r"\.(\d+)\.", name)))


def _hidden(arrays: Mapping[str, np.ndarray]) -> int:
    """Return the hidden units of an MLP."""
    up = r"\.(mlp\.fc1|intermediate\.dense)\.weight$"
    return next(array.shape[0] for name, array in arrays.items() if re.search(up, name))


def _config(shape: Shape, facts: Facts, said: Said, text: str) -> tuple[ConfigDict, list[str]]:
    """Return the config of a network of a shape, and remarks on what was assumed."""
    remarks = []
    if said.heads and facts.heads and said.heads != facts.heads:
        raise InferenceError(
            f"{text}: heads is {said.heads}, but its config.json says {facts.heads}: leave heads "
            "out, or correct the file"
        )
    heads = said.heads or facts.heads or _usual_heads(shape)
    if heads is None:
        raise InferenceError(
            f"{text}: {shape.depth} blocks of width {shape.width} are no usual ViT, and a file "
            "does not say its attention heads: give them (heads=12 of load, --heads 12), or put "
            "its config.json beside it"
        )
    config = base()
    mean, std = said.mean or facts.mean, said.std or facts.std
    if not (mean and std):
        mean, std = IMAGENET_MEAN, IMAGENET_STD
        remarks.append("inputs are normalised as ImageNet's; other weights need mean and std")
    config.input.size = _size(shape, facts, text)
    config.input.channels, config.input.mean, config.input.std = shape.channels, mean, std
    network = {
        "variant": f"{shape.depth}x{shape.width}x{heads}x{shape.hidden}",
        "patch": shape.patch,
        "registers": shape.registers,
        "positions": "learned",
        "norm_eps": facts.epsilon or EPSILON,
    }
    if shape.decoder is None:
        config.model = brick(vit_encoder, **network, last_norm=shape.last_norm)
        return config.lock(), remarks
    if facts.norm_pix is False:
        config.objectives.pixels.target = brick(patches)
    elif facts.norm_pix is None:
        remarks.append(
            "predictions are read as patches normalised each by itself; if they are plain "
            "pixels, `raw` shows them"
        )
    depth, width = shape.decoder
    decoder_heads = said.decoder_heads or facts.decoder_heads or DECODER_HEADS
    config.model = brick(
        vit_mae, **network, decoder_depth=depth, decoder_width=width, decoder_heads=decoder_heads
    )
    return config.lock(), remarks


def _usual_heads(shape: Shape) -> int | None:
    """Return the heads of the named variant of this depth and width."""
    usual = (v.heads for v in VARIANTS.values() if (v.depth, v.width) == (shape.depth, shape.width))
    return next(usual, None)


def _size(shape: Shape, facts: Facts, text: str) -> tuple[int, int]:
    """Return the size of pictures that the table of positions is made for."""
    grids = []
    if facts.size:
        grids.append(tuple(n // side for n, side in zip(facts.size, shape.patch, strict=True)))
    for prefix in (1, 0):
        grids.append((math.isqrt(shape.rows - prefix),) * 2)
    for grid in grids:
        if math.prod(grid) in (shape.rows, shape.rows - 1):
            return grid[0] * shape.patch[0], grid[1] * shape.patch[1]
    raise WeightsError(
        f"{text}: a table of {shape.rows} positions is no square grid: put the weights' "
        "config.json beside the file, which says their image_size"
    )
