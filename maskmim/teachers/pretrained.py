"""Networks for `teachers.frozen.features` that are read from files, or from a run of maskmim.

Files are safetensors as transformers and timm publish them. They are read when training starts, and
again whenever it is continued; nothing of them is saved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import jax
import jax.numpy as jnp

from maskmim.checkpoints.load_run import trained
from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD
from maskmim.interop import vision, vision_layouts
from maskmim.models.clip_vision import ClipEncoder
from maskmim.models.frozen_vit import Frozen, Resize, encoder_of, grid_of, learned_positions
from maskmim.models.layers import attention
from maskmim.models.layers.resized_positions import antialiased, with_offset
from maskmim.models.vit import ModelError, Size
from maskmim.models.vit import variant as size_of
from maskmim.tree_paths import named_leaves
from maskmim.types import Array, Encoded, Tree

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def vit(
    *,
    path: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    variant: str = "B",
    patch: tuple[int, int] = (16, 16),
    layer: int | None = None,
    norm_eps: float = 1e-6,
    dtype: str = "float32",
) -> Frozen:
    """A plain ViT with a class token (supervised, DINO, MAE, ...) of transformers or timm.

    path:      safetensors file of a ViTModel, or of a model that holds one, or of timm's.
    mean, std: what its pictures were normalised with: ImageNet's for DINO and MAE, 0.5 for
               Google's.
    layer:     what it finds is the output of so many blocks, without the last norm (entry `layer`
               of transformers' hidden_states); None for all blocks and the last norm.
    norm_eps:  1e-12 in transformers' configs, 1e-6 in timm.
    Raises ModelError for a size or layer that cannot be; WeightsError, when the weights are read,
    for a file that is missing or does not fit.
    """
    encoder = partial(encoder_of, positions="learned", epsilon=norm_eps, dtype=dtype)
    layouts = vision_layouts.VIT, vision_layouts.TIMM
    size = size_of(variant)
    load = _reader(path, layouts, encoder, size, patch, len(mean))
    return learned_positions(load, encoder, size=size, patch=patch, layer=layer, mean=mean, std=std)


def dinov2(
    *,
    path: str,
    variant: str = "B",
    patch: tuple[int, int] = (14, 14),
    layer: int | None = None,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    resize: Resize = with_offset,
    dtype: str = "float32",
) -> Frozen:
    """DINOv2 (arXiv 2304.07193) without registers, S, B or L, of transformers' Dinov2Model.

    path:   safetensors file.
    layer:  as in `vit`.
    resize: of its positions, which are made for pictures of 518 pixels: by the authors' offset, or
            `maskmim.models.layers.blocks.posembed.resize_positions` as transformers does it.
    The giant's SwiGLU is not here. Raises as `vit` does.
    """
    encoder = partial(encoder_of, positions="learned", epsilon=1e-6, dtype=dtype)
    size = size_of(variant)
    load = _reader(path, (vision_layouts.DINOV2,), encoder, size, patch, len(mean))
    given = {"size": size, "patch": patch, "layer": layer, "mean": mean, "std": std}
    return learned_positions(load, encoder, resize=resize, **given)


def dinov2_with_registers(
    *,
    path: str,
    variant: str = "B",
    patch: tuple[int, int] = (14, 14),
    registers: int = 4,
    layer: int | None = None,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    resize: Resize = antialiased,
    dtype: str = "float32",
) -> Frozen:
    """DINOv2 with registers (arXiv 2309.16588), of transformers' Dinov2WithRegistersModel.

    Keywords are those of `dinov2`; its authors resize its positions with antialiasing.
    """
    encoder = partial(
        encoder_of, positions="learned", epsilon=1e-6, dtype=dtype, registers=registers
    )
    size = size_of(variant)
    layouts = (vision_layouts.DINOV2_WITH_REGISTERS,)
    load = _reader(path, layouts, encoder, size, patch, len(mean))
    given = {"size": size, "patch": patch, "layer": layer, "mean": mean, "std": std}
    return learned_positions(load, encoder, resize=resize, **given)


def clip(
    *,
    path: str,
    variant: str = "B",
    patch: tuple[int, int] = (16, 16),
    projected: bool = False,
    layer: int | None = None,
    mean: tuple[float, ...] = CLIP_MEAN,
    std: tuple[float, ...] = CLIP_STD,
    dtype: str = "float32",
) -> Frozen:
    """The picture half of CLIP (arXiv 2103.00020), of transformers' CLIPModel or CLIPVisionModel.

    path:      safetensors file; what belongs to texts is not looked at.
    projected: every token goes through the last norm and into the space that pictures share with
               texts, as BEiT v2 and EVA want it; the file must have the projection.
    layer:     as in `vit`. transformers' last_hidden_state is that of all blocks (12 for B), before
               the last norm.
    Raises as `vit` does, and ModelError for a layer that is to be projected.
    """
    if projected and layer is not None:
        raise ModelError("CLIP projects the output of all blocks: layer=None, or projected=False")

    def encoder(size: Size, grid: tuple[int, int]) -> ClipEncoder:
        return ClipEncoder(grid, size, 1e-5, jnp.dtype(dtype), attention.fastest())

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
    whole = learned_positions(
        load, encoder, size=size, patch=patch, layer=layer, mean=mean, std=std
    )

    def encode(params: Tree, pictures: Array) -> Encoded:
        rest = {name: value for name, value in params.items() if name != projection}
        found = whole.encode(rest, pictures)
        into = params[projection].T.astype(found.tokens.dtype)
        return found._replace(prefix=found.prefix @ into, tokens=found.tokens @ into)

    return whole._replace(encode=encode) if projected else whole


def _reader(
    path: str,
    layouts: Sequence[vision.Layout],
    encoder: Callable,
    size: Size,
    patch: tuple[int, int],
    channels: int,
    keep: Sequence[str] = (),
) -> Callable[[], Tree]:
    """() -> the parameters of an encoder, read from a file at the first call."""

    @cache
    def load() -> Tree:
        blank = jax.ShapeDtypeStruct((1, 1, patch[0] * patch[1] * channels), jnp.float32)
        module = encoder(size, (1, 1))
        tree = jax.eval_shape(module.init, jax.random.key(0), blank, None, None)["params"]
        shapes = {name: leaf.shape for name, leaf in named_leaves(tree) if name != "positions"}
        return vision.load(layouts, path, shapes, (*patch, channels), keep=keep)

    return load


def run(*, workdir: str, layer: int | None = None) -> Frozen:
    """The encoder of a training of maskmim, from its newest checkpoint.

    workdir: of that training, read once. It looks at pictures of its own size and normalisation,
             so that its tokens are those of a student with the same grid alone.
    layer:   as in `vit`.
    Raises ConfigError or CheckpointError for a folder without a training, and ModelError for
    anything but pictures, for a layer that it lacks and for another grid.
    """
    given = trained(workdir)
    net, spec = given.method.net, given.spec
    if len(spec.size) != 2:
        raise ModelError(f"the run {workdir} looks at {spec.stream} inputs, not at pictures")
    grid = net.grids[spec.stream]
    patch = spec.size[0] // grid[0], spec.size[1] // grid[1]

    def encode(params: Tree, pictures: Array) -> Encoded:
        if pictures.shape[1:3] != spec.size:
            raise ModelError(
                f"the run {workdir} cuts a picture into {grid} tokens, the student into "
                f"{grid_of(pictures, patch)}: give both the same grid"
            )
        if layer is None:
            return net.encode(params, pictures, None)
        encoded = net.encode(params, pictures, None, capture=("layers",))
        depth, prefix = len(encoded.layers), encoded.prefix.shape[1]
        if not 1 <= layer <= depth:
            raise ModelError(f"no layer {layer}: the blocks are 1 to {depth}, None is the output")
        found = encoded.layers[layer - 1]
        return Encoded(found[:, :prefix], found[:, prefix:])

    return Frozen(patch, spec.mean, spec.std, lambda: given.variables.params, encode)
