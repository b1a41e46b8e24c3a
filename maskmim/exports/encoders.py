"""Encoders that other libraries have too, recognised by their brick, with the numbers they need."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.exports.subject import ExportError, Subject
from maskmim.models.convnext import convnext_variant
from maskmim.models.swin import swin_variant
from maskmim.tree_paths import named_leaves
from maskmim.types import Tree

STACK = "encoder/stack/blocks"
SCALES = f"{STACK}/scale1/scale", f"{STACK}/scale2/scale"
# Of masked pictures alone: what hidden tokens are, and which picture of a mixture a token is of.
OF_MASKS = "encoder/mask_token", "encoder/source_embedding"
# Bricks whose encoder is `vit.Encoder`, or one with LayerScale.
VITS = (
    "maskmim.models.audio_mae.vit_audio_mae",
    "maskmim.models.cae.vit_cae",
    "maskmim.models.crossmae.vit_crossmae",
    "maskmim.models.dbot.vit_dbot",
    "maskmim.models.encoder_only.vit_encoder",
    "maskmim.models.hpm.vit_hpm",
    "maskmim.models.in_place.vit_in_place",
    "maskmim.models.local_mim.vit_local_mim",
    "maskmim.models.masked_vit.vit_mae",
    "maskmim.models.mixed_ae.vit_mixed_ae",
    "maskmim.models.msn.vit_msn",
    "maskmim.models.pixio.vit_pixio",
    "maskmim.models.projection.vit_projected",
    "maskmim.models.r_mae.vit_r_mae",
    "maskmim.models.siamese.vit_siamese",
    "maskmim.models.videomae.vit_videomae",
)
BEITS = ("maskmim.models.beit_v2.beit_v2", "maskmim.models.relative_vit.relative_vit_in_place")
SWINS = ("maskmim.models.swin.swin_in_place",)
CONVNEXTS = ("maskmim.models.fcmae.convnext_fcmae",)


class Vit(NamedTuple):
    """A ViT over pictures (two axes) or clips (three).

    leaves:      its parameters by path, 'encoder/...', a last norm included.
    size:        of the input. patch: of a token, with the channels as last number.
    positions:   f32[N, D] of the patches, learned or computed; prefix tokens have none.
    scaled:      whether its blocks have LayerScale.
    last_norm:   whether there is a norm behind the last block.
    """

    leaves: Mapping[str, np.ndarray]
    size: tuple[int, ...]
    patch: tuple[int, ...]
    grid: tuple[int, ...]
    depth: int
    width: int
    heads: int
    hidden: int
    epsilon: float
    class_token: bool
    registers: int
    positions: np.ndarray
    scaled: bool
    last_norm: bool


class Beit(NamedTuple):
    """BEiT's ViT with one table of position biases; fields as of `Vit`."""

    leaves: Mapping[str, np.ndarray]
    size: tuple[int, ...]
    patch: tuple[int, ...]
    grid: tuple[int, ...]
    depth: int
    width: int
    heads: int
    hidden: int
    epsilon: float


class Swin(NamedTuple):
    """A Swin Transformer; patch and grid are those of the first stage."""

    leaves: Mapping[str, np.ndarray]
    size: tuple[int, ...]
    patch: tuple[int, ...]
    grid: tuple[int, ...]
    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    epsilon: float


class ConvNext(NamedTuple):
    """A ConvNeXt V2; patch is that of the first stage."""

    leaves: Mapping[str, np.ndarray]
    size: tuple[int, ...]
    patch: tuple[int, ...]
    width: int
    depths: tuple[int, ...]
    epsilon: float


Encoder = Vit | Beit | Swin | ConvNext


def encoder_of(subject: Subject, target: str) -> Encoder:
    """Return the encoder of a run as other libraries describe it.

    target: 'hf' or 'timm', for the message.
    Raises ExportError for a network that they do not have.
    """
    readers = {VITS: _vit, BEITS: _beit, SWINS: _swin, CONVNEXTS: _convnext}
    for bricks, read in readers.items():
        if subject.brick in bricks:
            return read(subject)
    raise ExportError(
        f"--to {target}: {subject.brick} has no counterpart there (those of ViT, BEiT, Swin and "
        "ConvNeXt V2 have): --to jax and --to onnx write any encoder as a program"
    )


def _leaves(params: Tree) -> dict[str, np.ndarray]:
    """Return the encoder's parameters by path, without those of masks, which targets drop."""
    leaves = {f"encoder/{path}": leaf for path, leaf in named_leaves(params["encoder"])}
    return {path: leaf for path, leaf in leaves.items() if path not in OF_MASKS}


def _shared(subject: Subject, leaves: Mapping[str, np.ndarray]) -> dict:
    settings, spec = subject.config.model, subject.spec
    return {
        "leaves": leaves,
        "size": tuple(spec.size),
        "patch": (*settings.patch, spec.channels),
        "epsilon": float(settings.norm_eps),
    }


def _vit(subject: Subject) -> Vit:
    leaves = _leaves(subject.params)
    settings = subject.config.model
    last_norm = settings.last_norm if "last_norm" in settings else True
    if last_norm:  # CrossMAE fixes it at these values
        leaves.setdefault("encoder/norm/norm/scale", np.ones(subject.net.width, np.float32))
        leaves.setdefault("encoder/norm/norm/bias", np.zeros(subject.net.width, np.float32))
    registers = leaves.get("encoder/registers")
    positions = leaves.pop("encoder/positions", None)
    return Vit(
        **_shared(subject, leaves),
        **_block_sizes(leaves, STACK),
        grid=subject.grid,
        class_token="encoder/class_token" in leaves,
        registers=0 if registers is None else registers.shape[1],
        positions=computed_positions(subject) if positions is None else positions,
        scaled=SCALES[0] in leaves,
        last_norm=last_norm,
    )


def _block_sizes(leaves: Mapping[str, np.ndarray], blocks: str) -> dict[str, int]:
    depth, width, _, heads, _ = leaves[f"{blocks}/attention/qkv/kernel"].shape
    hidden = leaves[f"{blocks}/mlp/up/kernel"].shape[-1]
    return {"depth": depth, "width": width, "heads": heads, "hidden": hidden}


def computed_positions(subject: Subject) -> np.ndarray:
    """Return the table f32[N, D] that an encoder of `vit.Encoder` adds to its patches.

    It is what enters the first block where the patch embedding gives zeros.
    """
    encoder = subject.params["encoder"]
    blank = {name: np.zeros_like(leaf) for name, leaf in encoder["embed"].items()}
    params = {**subject.params, "encoder": {**encoder, "embed": blank}}

    @jax.jit
    def embed(params: Tree) -> jax.Array:
        inputs = jnp.zeros((1, *subject.spec.shape), jnp.float32)
        encoded = subject.net.encode(params, inputs, None, capture=("embedded",))
        return encoded.embedded[0, encoded.prefix.shape[1] :]

    return np.asarray(embed(params))


def _beit(subject: Subject) -> Beit:
    leaves = _leaves(subject.params)
    sizes = _block_sizes(leaves, "encoder/blocks")
    return Beit(**_shared(subject, leaves), **sizes, grid=subject.grid)


def _swin(subject: Subject) -> Swin:
    settings, size = subject.config.model, swin_variant(subject.config.model.variant)
    grid = tuple(n // side for n, side in zip(subject.spec.size, settings.patch, strict=True))
    return Swin(
        **_shared(subject, _leaves(subject.params)),
        grid=grid,
        width=size.width,
        depths=tuple(size.depths),
        heads=tuple(size.heads),
        window=settings.window,
    )


def _convnext(subject: Subject) -> ConvNext:
    size = convnext_variant(subject.config.model.variant)
    return ConvNext(
        **_shared(subject, _leaves(subject.params)), width=size.width, depths=tuple(size.depths)
    )


def one_or_pair(sides: tuple[int, ...]) -> int | list[int]:
    """Return equal sides as one number, as configs of other libraries have them."""
    return sides[0] if len(set(sides)) == 1 else list(sides)


def mlp_ratio(encoder: Vit | Beit) -> float:
    """Return hidden units over width, such that int(width * ratio) is the number of units."""
    ratio = encoder.hidden / encoder.width
    return ratio if int(encoder.width * ratio) == encoder.hidden else math.nextafter(ratio, 1e9)
