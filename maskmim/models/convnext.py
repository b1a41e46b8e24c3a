"""ConvNeXt V2: depth-wise convolutions and Global Response Normalisation, blind to hidden cells."""

from __future__ import annotations

import re
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype, Norm, scan_blocks
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.encoder import BaseEncoder, Part
from maskmim.models.layers.errors import check_blocks, unknown_variant
from maskmim.models.layers.patches import gather, unpatchify, upsample_tokens
from maskmim.training.sharding import Rules, transformer
from maskmim.types import Array, Encoded, Randomness

small_truncated = nn.initializers.truncated_normal(0.02)
# Hidden units of the MLPs, in widths; the same in every variant.
MLP = 4
# Added to sums of squares and to the norms' mean in GRN.
GRN_EPSILON = 1e-6


class ConvNextSize(NamedTuple):
    """Width of the first stage, doubled at each further one; blocks of each stage."""

    width: int
    depths: tuple[int, ...]


VARIANTS = {
    "A": ConvNextSize(40, (2, 2, 6, 2)),
    "F": ConvNextSize(48, (2, 2, 6, 2)),
    "P": ConvNextSize(64, (2, 2, 6, 2)),
    "N": ConvNextSize(80, (2, 2, 8, 2)),
    "T": ConvNextSize(96, (3, 3, 9, 3)),
    "B": ConvNextSize(128, (3, 3, 27, 3)),
    "L": ConvNextSize(192, (3, 3, 27, 3)),
    "H": ConvNextSize(352, (3, 3, 27, 3)),
}


def convnext_variant(name: str) -> ConvNextSize:
    """Return the size of a named variant (atto, femto, pico, ... huge), or of width x depths.

    name: a key of VARIANTS, or '96x3-3-9-3': width of the first stage, blocks of each stage.
    Raises ModelError for any other name.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*(-[1-9]\d*)*", name):
        form = "width x depths such as '96x3-3-9-3'"
        raise unknown_variant("ConvNeXt V2", name, VARIANTS, form)
    width, depths = name.split("x")
    size = ConvNextSize(int(width), tuple(map(int, depths.split("-"))))
    check_blocks(sum(size.depths))
    return size


def rules() -> Rules:
    """Return sharding rules for `config.mesh.rules`: `sharding.transformer` and convolutions.

    Convolutions are split over `fsdp` along their outputs, GRN over `tensor` as its hidden units.
    """
    return (
        (r"blocks/depthwise/kernel$", (None, None, None, None, "fsdp")),
        (r"blocks/.*(gamma|beta)$", (None, "tensor")),
        (r"(stem|down\d)/kernel$", (None, None, None, "fsdp")),
        *transformer(),
    )


class GlobalResponseNorm(nn.Module):
    """GRN: scales each channel by its L2 norm over the picture, relative to the other channels.

    Source: ConvNeXt V2 (arXiv 2301.00808), section 4; the JAX definition in TRAINING.md of
    facebookresearch/ConvNeXt-V2. Differences: its sparse PyTorch version takes the norm over the
    visible cells of all pictures on a device (utils.py); the dense ones add nothing under the root.
    """

    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array, seen: Array | None) -> Array:
        """Map [B, h, w, D] -> [B, h, w, D]; norms are over a picture's cells where `seen` is 1."""
        gamma = self.param("gamma", nn.initializers.zeros, (x.shape[-1],))[None, None, None]
        beta = self.param("beta", nn.initializers.zeros, (x.shape[-1],))[None, None, None]
        y = x.astype(jnp.float32)
        visible = y if seen is None else y * seen
        # The addend keeps the gradient finite where GELU has zeroed a whole channel.
        squares = jnp.sum(visible**2, axis=(1, 2), keepdims=True)
        norm = jnp.sqrt(squares + GRN_EPSILON)
        share = norm / (jnp.mean(norm, axis=-1, keepdims=True) + GRN_EPSILON)
        return (gamma * (y * share) + beta + y).astype(self.dtype)


class GrnMlp(nn.Module):
    """Two dense layers on each cell with an exact GELU and a GRN between them."""

    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array, seen: Array | None) -> Array:
        """Map [B, h, w, D] -> [B, h, w, D]."""
        width = x.shape[-1]
        hidden = Dense(MLP * width, kernel_init=small_truncated, dtype=self.dtype, name="up")(x)
        hidden = nn.gelu(hidden, approximate=False)
        hidden = GlobalResponseNorm(self.dtype, name="grn")(hidden, seen)
        return Dense(width, kernel_init=small_truncated, dtype=self.dtype, name="down")(hidden)


class Block(nn.Module):
    """A ConvNeXt V2 block that reads visible cells only.

    Only the convolution and GRN read other cells, and both leave hidden ones out. So a hidden cell
    may hold any value: no visible cell reads it.
    Source: section 3 of the paper, "Encoder design": masked before a dense convolution, it equals a
    submanifold sparse one at the visible cells; the JAX definition in TRAINING.md.
    Differences: masks the convolution's input; the JAX definition masks its output too, which
    changes no visible cell. GELU is exact as in the PyTorch models; the JAX definition has flax's
    default, the approximate one.
    """

    epsilon: float
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array, seen: Array | None) -> tuple[Array, None]:
        """Map [B, h, w, D] -> ([B, h, w, D], None).

        seen: f32[B, h, w, 1], 1 where visible; None where everything is.
        """
        width = x.shape[-1]
        depthwise = nn.Conv(
            width,
            (7, 7),
            feature_group_count=width,
            kernel_init=small_truncated,
            dtype=self.dtype,
            name="depthwise",
        )
        x = constraints.constrain_examples(x)
        y = constraints.constrain_depthwise(x if seen is None else x * seen.astype(x.dtype))
        y = constraints.constrain_examples(constraints.constrain_depthwise(depthwise(y)))
        y = Norm(self.epsilon, self.dtype, name="norm")(y)
        return constraints.constrain_examples(x + GrnMlp(self.dtype, name="mlp")(y, seen)), None


def convnext_stage(
    depth: int, epsilon: float, dtype: Dtype, *, remat: str, unroll: bool, name: str
) -> nn.Module:
    """Return the blocks of one resolution under one scan: (x, seen) -> (x, None), see `Block`.

    remat, unroll: see `layers.compute.compute`.
    """
    make = scan_blocks(Block, depth=depth, remat=remat, unroll=unroll, in_axes=nn.broadcast)
    return make(epsilon, dtype, name=name)


class ConvNextEncoder(BaseEncoder, Part):
    """Stem, stages of blocks, a norm and a convolution with stride 2 between them.

    grid:  (rows, columns) of the last stage's cells, which are the tokens of the mask.
    patch: (height, width) pixels of a cell of the first stage.
    Stem and downsampling read the pixels of one token only, as their kernels are as large as their
    strides; so they need no mask. There is no mask embedding, no dropped path and no norm after the
    last stage. Stages differ in the number and width of their cells, so that these are captured,
    and not blocks.
    Source: SparseConvNeXtV2, models/convnextv2_sparse.py, facebookresearch/ConvNeXt-V2.
    """

    captures: ClassVar[tuple[str, ...]] = ("stages",)
    patch: tuple[int, int]
    size: ConvNextSize

    def _encode(
        self,
        units: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> Encoded:
        depths = self.size.depths
        times = 2 ** (len(depths) - 1)
        unit = times * self.patch[0], times * self.patch[1]
        picture = unpatchify(units, unit, self.grid).astype(self.dtype)
        x = self._patches(self.size.width, self.patch, "stem")(picture)
        x = Norm(self.epsilon, self.dtype, name="stem_norm")(x)
        stages = []
        for stage, depth in enumerate(depths):
            x = constraints.constrain_examples(x)
            if stage:
                x = Norm(self.epsilon, self.dtype, name=f"down{stage}_norm")(x)
                x = self._patches(self.size.width << stage, (2, 2), f"down{stage}")(x)
            seen = None if visible is None else visible_map(visible, self.grid, times >> stage)
            loop = {"remat": self.remat, "unroll": self.unroll, "name": f"stage{stage}_blocks"}
            x, _ = convnext_stage(depth, self.epsilon, self.dtype, **loop)(x, seen)
            stages.append(x)
        tokens = x.reshape(len(x), -1, x.shape[-1])
        tokens = tokens if visible is None else gather(tokens, visible)
        return Encoded(tokens[:, :0], tokens, stages=tuple(stages) if "stages" in capture else None)

    def _patches(self, width: int, sides: tuple[int, int], name: str) -> nn.Conv:
        """Return a convolution whose kernel is as large as its stride."""
        options = {"strides": sides, "padding": "VALID", "kernel_init": small_truncated}
        return nn.Conv(width, sides, dtype=self.dtype, name=name, **options)


def visible_map(visible: Array, grid: tuple[int, int], times: int) -> Array:
    """Return f32[B, rows * times, columns * times, 1], 1 in cells of visible tokens i32[B, K]."""
    examples = visible.shape[0]
    rows = jnp.arange(examples)[:, None]
    seen = jnp.zeros((examples, grid[0] * grid[1]), jnp.float32).at[rows, visible].set(1.0)
    return upsample_tokens(seen, grid, times)[..., None]
