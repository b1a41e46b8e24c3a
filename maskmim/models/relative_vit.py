"""The ViT of BEiT and SimMIM: one relative position bias for all blocks, and LayerScale."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import jax.numpy as jnp
from flax import linen as nn

from maskmim.models import vit
from maskmim.models.in_place import in_place_net
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype, Norm, stacked
from maskmim.models.layers.drop_path import factors
from maskmim.models.layers.init import narrow_normal, normal, normal_by_depth, started
from maskmim.models.layers.layer_scale import scaled_branches
from maskmim.models.layers.relative_position import BiasedAttention, biases, table_index, table_rows
from maskmim.models.net import token_grid
from maskmim.models.vit import Part, Size, of_blocks, small_normal
from maskmim.types import Array, Encoded, Net, Randomness, Spec

START = (
    (r"blocks/.*(attention/out|mlp/down)/kernel$", normal_by_depth),
    (r"encoder/.*kernel$", normal),
)


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
        attention = BiasedAttention(self.heads, self.dtype, name="attention")
        return scaled_branches(self, x, partial(attention, bias=bias), keep)


class RelativeEncoder(Part):
    """Patch embedding, mask embeddings, a class token, blocks and a last norm; no positions.

    Every token enters whatever `visible` says, see `in_place.in_place_net`.
    """

    size: Size
    layer_scale: float
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
        rows = table_rows(self.grid, class_token=True)
        table = self.param("relative_bias", nn.initializers.zeros, (rows, self.size.heads))
        bias = biases(table, table_index(self.grid, class_token=True))
        keep = factors(randomness, depth=self.size.depth, rate=self.drop_path)
        x, found = self._blocks(of_blocks(capture))(x, bias, keep)
        first, others = constraints.parted(Norm(self.epsilon, self.dtype, name="norm")(x), 1)
        return Encoded(first, others, found.get("layers"), found.get("attention"), embedded)

    def _tokens(self, patches: Array, hidden: Array | None) -> Array:
        """The class token and all embedded tokens."""
        width = self.size.width
        embed = nn.Dense(width, kernel_init=small_normal, dtype=self.dtype, name="embed")
        tokens = constraints.embedded(embed, patches.astype(self.dtype))
        # SimMIM cuts the mask embedding's start off at one deviation.
        filling = self.param("mask_token", narrow_normal, (1, 1, width)).astype(self.dtype)
        if hidden is not None:
            tokens = jnp.where(hidden[..., None], filling, tokens)
        first = self.param("class_token", small_normal, (1, 1, width)).astype(self.dtype)
        first = jnp.broadcast_to(first, (tokens.shape[0], 1, width))
        return constraints.joined(first, tokens)

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
    common = vit.settings(token_grid(spec.size, patch), norm_eps, remat, unroll, dtype)
    size = vit.variant(variant)
    encoder = RelativeEncoder(size=size, layer_scale=layer_scale, drop_path=drop_path, **common)
    net = in_place_net(
        spec,
        patch=patch,
        width=size.width,
        encoder=encoder,
        heads=heads,
        dtype=encoder.dtype,
        says=f"{vit.words(encoder)}, class token, relative position bias, mask embeddings",
    )
    return started(net, START)
