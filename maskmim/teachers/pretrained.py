"""Networks for `teachers.frozen.features`, read from files or from a run of maskmim.

Files are safetensors as transformers and timm publish them. They are read whenever training starts
or resumes; checkpoints do not hold them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import jax
import jax.numpy as jnp

from maskmim.checkpoints.load_run import load_trained
from maskmim.config.ranges import (
    Deviations,
    DtypeName,
    Means,
    NonNegativeInt,
    Positive,
    PositiveInt,
    Size2D,
)
from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD
from maskmim.interop import vision, vision_layouts
from maskmim.models.calls import call_of
from maskmim.models.clip_vision import ClipEncoder
from maskmim.models.frozen_vit import (
    Frozen,
    Resize,
    build_frozen_encoder,
    patch_grid,
    with_learned_positions,
)
from maskmim.models.layers import attention
from maskmim.models.layers.resized_positions import antialiased, with_offset
from maskmim.models.vit import ModelError, Size
from maskmim.models.vit import variant as size_of
from maskmim.teachers.features import encode_block
from maskmim.tree_paths import named_leaves
from maskmim.types import Array, Encoded, Mask, Tree, random_key

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def vit(
    *,
    path: str,
    mean: Means,
    std: Deviations,
    variant: str = "B",
    patch: Size2D = (16, 16),
    layer: PositiveInt | None = None,
    norm_eps: Positive = 1e-6,
    dtype: DtypeName = "float32",
) -> Frozen:
    """Return a plain ViT with a class token (supervised, DINO, MAE, ...) of transformers or timm.

    path:      safetensors file of a ViTModel, of a model that holds one, or of a timm ViT.
    mean, std: of the pictures it was trained on: ImageNet's for DINO and MAE, 0.5 for Google's.
    layer:     features are the output of this many blocks, without the last norm (entry `layer` of
               transformers' hidden_states); None for all blocks and the last norm.
    norm_eps:  1e-12 in transformers' configs, 1e-6 in timm.
    Raises ModelError for an unknown variant or layer; WeightsError, when the weights are read,
    where the file is missing or does not fit.
    """
    encoder = partial(build_frozen_encoder, positions="learned", epsilon=norm_eps, dtype=dtype)
    layouts = vision_layouts.VIT, vision_layouts.TIMM
    size = size_of(variant)
    load = _reader(path, layouts, encoder, size, patch, len(mean))
    return with_learned_positions(
        load, encoder, size=size, patch=patch, layer=layer, mean=mean, std=std
    )


def dinov2(
    *,
    path: str,
    variant: str = "B",
    patch: Size2D = (14, 14),
    layer: PositiveInt | None = None,
    mean: Means = IMAGENET_MEAN,
    std: Deviations = IMAGENET_STD,
    resize: Resize = with_offset,
    dtype: DtypeName = "float32",
) -> Frozen:
    """Return DINOv2 (arXiv 2304.07193) without registers, S, B or L, of transformers' Dinov2Model.

    path:   safetensors file.
    layer:  as in `vit`.
    resize: of its positions, which are made for pictures of 518 pixels: `with_offset` as the
            authors do, or `maskmim.models.layers.posembed.resize_positions` as transformers does.
    The giant is not supported: it has SwiGLU. Raises as `vit` does.
    """
    encoder = partial(build_frozen_encoder, positions="learned", epsilon=1e-6, dtype=dtype)
    size = size_of(variant)
    load = _reader(path, (vision_layouts.DINOV2,), encoder, size, patch, len(mean))
    settings = {"size": size, "patch": patch, "layer": layer, "mean": mean, "std": std}
    return with_learned_positions(load, encoder, resize=resize, **settings)


def dinov2_with_registers(
    *,
    path: str,
    variant: str = "B",
    patch: Size2D = (14, 14),
    registers: NonNegativeInt = 4,
    layer: PositiveInt | None = None,
    mean: Means = IMAGENET_MEAN,
    std: Deviations = IMAGENET_STD,
    resize: Resize = antialiased,
    dtype: DtypeName = "float32",
) -> Frozen:
    """Return DINOv2 with registers (arXiv 2309.16588), of transformers' Dinov2WithRegistersModel.

    Keywords are those of `dinov2`; the authors resize the positions with antialiasing.
    """
    encoder = partial(
        build_frozen_encoder, positions="learned", epsilon=1e-6, dtype=dtype, registers=registers
    )
    size = size_of(variant)
    layouts = (vision_layouts.DINOV2_WITH_REGISTERS,)
    load = _reader(path, layouts, encoder, size, patch, len(mean))
    settings = {"size": size, "patch": patch, "layer": layer, "mean": mean, "std": std}
    return with_learned_positions(load, encoder, resize=resize, **settings)


def clip(
    *,
    path: str,
    variant: str = "B",
    patch: Size2D = (16, 16),
    projected: bool = False,
    layer: PositiveInt | None = None,
    mean: Means = CLIP_MEAN,
    std: Deviations = CLIP_STD,
    dtype: DtypeName = "float32",
) -> Frozen:
    """Return CLIP's picture encoder (arXiv 2103.00020), of a CLIPModel or CLIPVisionModel.

    path:      safetensors file of transformers; the text encoder's weights are ignored.
    projected: apply the last norm and the projection to the space of pictures and texts to every
               token, as BEiT v2 and EVA need; the file must have the projection.
    layer:     as in `vit`. transformers' last_hidden_state is the output of all blocks (12 for B),
               before the last norm.
    Raises as `vit` does, and ModelError for `projected` with a layer.
    """
    if projected and layer is not None:
        raise ModelError("CLIP projects the output of all blocks: layer=None, or projected=False")

    def encoder(size: Size, grid: tuple[int, int]) -> ClipEncoder:
        return ClipEncoder(grid, size, 1e-5, jnp.dtype(dtype), attention.fastest_attention())

    size, projection = size_of(variant), "visual_projection.weight"
    load = _reader(
        path,
        (vision_layouts.CLIP,),
        encoder,
        size,
        patch,
        len(mean),
        keep=(projection,) if projected else (),
    )
    network = with_learned_positions(
        load, encoder, size=size, patch=patch, layer=layer, mean=mean, std=std
    )

    def encode(
        params: Tree, pictures: Array, mask: Mask | None = None, capture: tuple[str, ...] = ()
    ) -> Encoded:
        rest = {name: value for name, value in params.items() if name != projection}
        encoded = network.encode(rest, pictures, mask, capture)
        matrix = params[projection].T.astype(encoded.tokens.dtype)
        return _mapped(encoded, lambda tokens: tokens @ matrix)

    return network._replace(encode=encode) if projected else network


def _reader(
    path: str,
    layouts: Sequence[vision.Layout],
    encoder: Callable,
    size: Size,
    patch: tuple[int, int],
    channels: int,
    keep: Sequence[str] = (),
) -> Callable[[], Tree]:
    """Return a function () -> params of an encoder, which reads the file at its first call."""

    @cache
    def load() -> Tree:
        blank = jax.ShapeDtypeStruct((1, 1, patch[0] * patch[1] * channels), jnp.float32)
        module = encoder(size, (1, 1))
        tree = jax.eval_shape(module.init, random_key(0), blank, None, None)["params"]
        shapes = {name: leaf.shape for name, leaf in named_leaves(tree) if name != "positions"}
        return vision.load(layouts, path, shapes, (*patch, channels), keep=keep)

    return load


def _mapped(encoded: Encoded, function: Callable[[Array], Array]) -> Encoded:
    """Return what a function makes of the tokens and the prefix of an encoder's output."""
    return encoded._replace(prefix=function(encoded.prefix), tokens=function(encoded.tokens))


def run(*, workdir: str, layer: PositiveInt | None = None, call: str | None = None) -> Frozen:
    """Return the encoder of a run of maskmim, from its newest checkpoint.

    Its weights are those that the run is evaluated with, the averaged ones with `config.ema`.

    workdir: of that run, read once. Pictures have the size and normalisation of the run, so the
             student must have the same grid.
    layer:   as in `vit`.
    call:    name of a function of the run, a key of its `config.calls`, that is applied to every
             token, such as `picture` of configs/pair.py, the projection to where texts lie; None
             for none.
    Raises ConfigError or CheckpointError where the folder does not hold a run, and ModelError where
    the run does not see pictures, lacks the layer or the function or has another grid, and for a
    function with a layer.
    """
    if call is not None and layer is not None:
        raise ModelError(f"{call} is applied to the output of all blocks: layer=None, or call=None")
    trained = load_trained(workdir)
    net, spec = trained.method.net, trained.spec
    if len(spec.size) != 2:
        raise ModelError(
            f"the run {workdir} sees {spec.stream} inputs, not pictures: name a run on pictures"
        )
    grid = net.grids[spec.stream]
    patch = spec.size[0] // grid[0], spec.size[1] // grid[1]
    apply = None if call is None else call_of(net, call)

    def encode(
        params: Tree, pictures: Array, mask: Mask | None = None, capture: tuple[str, ...] = ()
    ) -> Encoded:
        if pictures.shape[1:3] != spec.size:
            raise ModelError(
                f"the run {workdir} cuts a picture into {grid} tokens, the student into "
                f"{patch_grid(pictures, patch)}: give both the same grid"
            )
        if layer is None:
            encoded = net.encode(params, pictures, mask, capture=capture)
            return encoded if apply is None else _mapped(encoded, partial(apply, params))
        return encode_block(net, params, pictures, layer, mask, capture)

    return Frozen(patch, spec.mean, spec.std, lambda: trained.evaluated.params, encode)
