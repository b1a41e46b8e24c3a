"""The ViT of BEiT and SimMIM: one relative position bias for all blocks, and LayerScale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import FractionBelowOne, Positive, PositiveInt, Size2D
from maskmim.models import vit
from maskmim.models.in_place import in_place_net
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Dtype, scan_blocks
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.drop_path import drop_path_factors
from maskmim.models.layers.encoder import UniformEncoder
from maskmim.models.layers.init import (
    draw_normal,
    draw_normal_by_depth,
    narrow_normal,
    small_normal,
    with_init,
)
from maskmim.models.layers.layer_scale import apply_scaled_branches
from maskmim.models.layers.relative_position import (
    BiasedAttention,
    bias_table_index,
    bias_table_rows,
    gather_biases,
)
from maskmim.models.net import token_grid
from maskmim.models.vit import Size
from maskmim.types import Array, Net, Randomness, Spec

INIT_RULES = (
    (r"blocks/.*(attention/out|mlp/down)/kernel$", draw_normal_by_depth),
    (r"encoder/.*kernel$", draw_normal),
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
        """Map [B, n, D] -> ([B, n, D], captures); bias: f32[heads, n, n]; keep: f32[B, 2]."""
        attention = BiasedAttention(self.heads, self.dtype, name="attention")
        return apply_scaled_branches(self, x, partial(attention, bias=bias), keep)


class RelativeEncoder(UniformEncoder):
    """Patch embedding, mask embeddings, a class token, blocks and a last norm; no positions.

    Every token enters whatever `visible` says, see `in_place.in_place_net`. Subclasses that
    withhold values in another way write `_embed_patches`.
    """

    size: Size
    layer_scale: float
    drop_path: float

    def _embed(
        self, patches: Array, visible: Array | None, hidden: Array | None
    ) -> tuple[Array, Array]:
        width = self.size.width
        tokens = self._embed_patches(patches, hidden)
        first = self.param("class_token", small_normal, (1, 1, width)).astype(self.dtype)
        return jnp.broadcast_to(first, (tokens.shape[0], 1, width)), tokens

    def _embed_patches(self, patches: Array, hidden: Array | None) -> Array:
        """Return tokens [B, N, D], the mask embedding in place of hidden ones."""
        tokens, filling = self._linear(patches), self._mask_token()
        return tokens if hidden is None else jnp.where(hidden[..., None], filling, tokens)

    def _linear(self, patches: Array) -> Array:
        """Return the patch embeddings [B, N, D] of patches [B, N, V]."""
        embed = Dense(self.size.width, kernel_init=small_normal, dtype=self.dtype, name="embed")
        return constraints.embed_tokens(embed, patches.astype(self.dtype))

    def _mask_token(self) -> Array:
        # SimMIM truncates the mask embedding's distribution at one standard deviation.
        token = self.param("mask_token", narrow_normal, (1, 1, self.size.width))
        return token.astype(self.dtype)

    def _run_blocks(
        self,
        x: Array,
        visible: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> tuple[Array, dict[str, Array]]:
        size, bias = self.size, self._biases(visible)
        keep = drop_path_factors(randomness, depth=size.depth, rate=self.drop_path)
        loop = {"depth": size.depth, "remat": self.remat, "unroll": self.unroll}
        make = scan_blocks(RelativeBlock, in_axes=(nn.broadcast, 0), **loop)
        shape = size.heads, size.hidden, self.epsilon, self.dtype, self.layer_scale
        return make(*shape, capture, name="blocks")(x, bias, keep)

    def _biases(self, visible: Array | None) -> Array:
        """Return what is added to the scores of attention, f32[..., heads, n, n].

        visible: as of `_run_blocks`; here it plays no part.
        """
        rows = bias_table_rows(self.grid, class_token=True)
        table = self.param("relative_bias", nn.initializers.zeros, (rows, self.size.heads))
        return gather_biases(table, bias_table_index(self.grid, class_token=True))


def relative_vit_in_place(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    layer_scale: Positive = 0.1,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.1,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build BEiT's ViT, which sees every token, hidden ones as mask embeddings, with linear heads.

    layer_scale: initial factor of the residual branches.
    Other keywords are those of `in_place.vit_in_place`. The network has a class token and, instead
    of positions, one relative position bias shared by all blocks. Kernels are drawn from
    N(0, 0.02); in block l those that end a residual branch are divided by sqrt(2 l).
    Raises ModelError as `in_place.vit_in_place` does.
    Source: models/vision_transformer.py and models/simmim.py, microsoft/SimMIM (from BEiT, arXiv
    2106.08254). Differences: keys have a bias too, which cancels in the softmax; how heads are
    initialised, see `in_place.LinearHeads`.
    """
    common = vit.part_fields(token_grid(spec.size, patch), norm_eps, compute())
    own = {"size": vit.variant(variant), "layer_scale": layer_scale, "drop_path": drop_path}
    encoder = RelativeEncoder(**own, **common)
    return with_init(relative_net(spec, encoder, patch, heads, "mask embeddings"), INIT_RULES)


def relative_net(
    spec: Spec,
    encoder: RelativeEncoder,
    patch: tuple[int, int],
    heads: Mapping[str, PositiveInt | None],
    withholds: str,
) -> Net:
    """Return the network of an encoder with relative biases and linear heads.

    withholds: what takes the place of hidden tokens, for people.
    """
    words = vit.describe_blocks(encoder)
    return in_place_net(
        spec,
        patch=patch,
        width=encoder.size.width,
        encoder=encoder,
        heads=heads,
        dtype=encoder.dtype,
        says=f"{words}, class token, relative position bias, {withholds}",
    )
