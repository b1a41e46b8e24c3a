"""The ViT of BEiT and SimMIM: one relative position bias for all blocks, and LayerScale."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn

from maskmim.models import placed, vit
from maskmim.models.drop_path import factors
from maskmim.models.in_place import in_place_net
from maskmim.models.layers import CAPTURES, Dtype, Mlp, Norm, scaled, stacked
from maskmim.models.net import token_grid
from maskmim.models.relative_position import BiasedAttention, biases, table_index, table_rows
from maskmim.models.starts import narrow_normal, normal, normal_by_depth, started
from maskmim.models.vit import ModelError, Size, check_remat, small_normal
from maskmim.types import Array, Encoded, Net, Randomness, Spec

START = (
    (r"blocks/.*(attention/out|mlp/down)/kernel$", normal_by_depth),
    (r"encoder/.*kernel$", normal),
)


class LayerScale(nn.Module):
    """A learned factor for each channel of a residual branch (CaiT, arXiv 2103.17239)."""

    initial: float

    @nn.compact
    def __call__(self, branch: Array) -> Array:
        """[B, n, D] -> [B, n, D]."""
        scale = self.param("scale", nn.initializers.constant(self.initial), branch.shape[-1:])
        return branch * scale.astype(branch.dtype)


class RelativeBlock(nn.Module):
    """A pre-norm block with biased attention and LayerScale on both branches."""

    heads: int
    hidden: int
    epsilon: float
    dtype: Dtype
    layer_scale: float
    capture: tuple[str, ...]

    @nn.compact
    def __call__(self, x: Array, bias: Array, keep: Array | None) -> tuple[Array, dict[str, Array]]:
        """[B, n, D], bias f32[heads, n, n], factors f32[B, 2] -> ([B, n, D], what was captured)."""
        x = placed.tokens(x)
        y = Norm(self.epsilon, self.dtype, name="norm1")(x)
        mixed, first = BiasedAttention(self.heads, self.dtype, name="attention")(y, bias)
        x = placed.tokens(x + scaled(LayerScale(self.layer_scale, name="scale1")(mixed), keep, 0))
        y = Norm(self.epsilon, self.dtype, name="norm2")(x)
        y = Mlp(self.hidden, self.dtype, name="mlp")(y)
        x = placed.tokens(x + scaled(LayerScale(self.layer_scale, name="scale2")(y), keep, 1))
        found = {"layers": x, "attention": first}
        return x, {name: found[name] for name in self.capture}


class RelativeEncoder(nn.Module):
    """Patch embedding, mask embeddings, a class token, blocks and a last norm; no positions.

    Every token enters whatever `visible` says, see `in_place.in_place_net`.
    """

    grid: tuple[int, int]
    size: Size
    layer_scale: float
    epsilon: float
    dtype: Dtype
    remat: str
    unroll: int
    drop_path: float

    @nn.compact
    def __call__(
        self,
        patches: Array,
        visible: Array | None,
        hidden: Array | None,
        capture: tuple[str, ...] = (),
        randomness: Randomness | None = None,
    ) -> Encoded:
        """f32[B, N, V] patch values, ignored, bool[B, N] hidden or None.

        randomness: of dropped paths; without it none are dropped.
        """
        x = self._tokens(patches, hidden)
        embedded = x if "embedded" in capture else None
        inner = tuple(name for name in capture if name != "embedded")
        if set(inner) - set(CAPTURES):
            raise ModelError(f"cannot capture {inner}: use any of embedded, {', '.join(CAPTURES)}")
        rows = table_rows(self.grid, class_token=True)
        table = self.param("relative_bias", nn.initializers.zeros, (rows, self.size.heads))
        bias = biases(table, table_index(self.grid, class_token=True))
        keep = factors(randomness, depth=self.size.depth, rate=self.drop_path)
        x, found = self._blocks(inner)(x, bias, keep)
        first, others = placed.parted(Norm(self.epsilon, self.dtype, name="norm")(x), 1)
        return Encoded(first, others, found.get("layers"), found.get("attention"), embedded)

    def _tokens(self, patches: Array, hidden: Array | None) -> Array:
        """The class token and all embedded tokens."""
        width = self.size.width
        embed = nn.Dense(width, kernel_init=small_normal, dtype=self.dtype, name="embed")
        tokens = placed.embedded(embed, patches.astype(self.dtype))
        # SimMIM cuts the mask embedding's start off at one deviation.
        filling = self.param("mask_token", narrow_normal, (1, 1, width)).astype(self.dtype)
        if hidden is not None:
            tokens = jnp.where(hidden[..., None], filling, tokens)
        first = self.param("class_token", small_normal, (1, 1, width)).astype(self.dtype)
        first = jnp.broadcast_to(first, (tokens.shape[0], 1, width))
        return placed.joined(first, tokens)

    def _blocks(self, capture: tuple[str, ...]) -> nn.Module:
        """The blocks under one scan; the bias is the same for all."""
        size, how = self.size, {"remat": self.remat, "unroll": self.unroll}
        make = stacked(RelativeBlock, depth=size.depth, in_axes=(nn.broadcast, 0), **how)
        shape = size.heads, size.hidden, self.epsilon, self.dtype, self.layer_scale
        return make(*shape, capture, name="blocks")


def relative_vit_in_place(
    spec: Spec,
    *,
    variant: str = "B",
    patch: tuple[int, int] = (16, 16),
    layer_scale: float = 0.1,
    heads: Mapping[str, int | None] = {"pixels": None},
    norm_eps: float = 1e-6,
    drop_path: float = 0.1,
    remat: str = "none",
    unroll: bool = False,
    dtype: str = "float32",
) -> Net:
    """BEiT's ViT, which sees every token, hidden ones as mask embeddings, with linear heads.

    layer_scale: what the factors of the residual branches start from.
    Other keywords are those of `in_place.vit_in_place`. There is a class token, and no positions
    but one relative position bias, shared by all blocks. Kernels start from N(0, 0.02), those that
    end a residual branch divided by sqrt(2 l) in block l.
    Raises ModelError as `in_place.vit_in_place` does.
    Source: models/vision_transformer.py and models/simmim.py, microsoft/SimMIM (from BEiT, arXiv
    2106.08254). Differences: keys have a bias too, which no softmax can see; the heads' start, see
    `in_place.LinearHeads`.
    """
    check_remat(remat)
    size, kind = vit.variant(variant), jnp.dtype(dtype)
    encoder = RelativeEncoder(
        grid=token_grid(spec.size, patch),
        size=size,
        layer_scale=layer_scale,
        epsilon=norm_eps,
        dtype=kind,
        remat=remat,
        unroll=size.depth if unroll else 1,
        drop_path=drop_path,
    )
    says = f"{size.depth} blocks, width {size.width}, {size.heads} heads, {kind}, class token"
    net = in_place_net(
        spec,
        patch=patch,
        width=size.width,
        encoder=encoder,
        heads=heads,
        dtype=kind,
        says=f"{says}, relative position bias, mask embeddings",
    )
    return started(net, START)
