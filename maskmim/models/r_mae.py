"""R-MAE: MAE with a second branch that predicts the hidden parts of regions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, Positive, PositiveInt, Size2D
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Attention, Blocks, Mlp, Norm, xavier
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.posembed import sincos
from maskmim.models.mae_decoder import decode_predicted, fill_grid
from maskmim.models.masked_vit import vit_mae
from maskmim.models.net import token_grid
from maskmim.models.vit import Stack
from maskmim.types import Array, Encoded, Mask, Net, Spec, Tree


class RegionBranch(Stack):
    """A predictor of region maps: each region is a query to one memory of the picture.

    A region's visible patches pass through blocks and are averaged: its query. The encoder's tokens
    and mask tokens pass through the blocks of `size`: the memory. Queries attend to each other;
    then each is added to the memory of every predicted token, and an MLP makes the logits.

    region_depth: blocks of the region encoder, as wide as the memory.
    values: pixels of a patch, the width of the head.
    Source: RegionQueryRMAE of pretrain/module/rmae.py with one DecoderBlockWithExpansion
    (facebookresearch/r-mae). Difference: the official code expands queries over every token and
    drops the visible ones from the loss; this one computes the predicted tokens alone, with the
    same numbers there.
    """

    region_depth: int
    values: int

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask, maps: Array) -> Array:
        """Predict the logits f32[B, R, P, values] of regions.

        maps: f32[B, R, K, values] shares in [0, 1], the visible patches of R regions.
        """
        prefix, tokens = fill_grid(self, encoded, mask)
        table = jnp.asarray(sincos(self.size.width, self.grid), self.dtype)
        x = constraints.concat_tokens(prefix, tokens + table[None])
        memory = decode_predicted(self, x, prefix.shape[1], mask)
        queries = self._attend(self._queries(maps, mask))
        expanded = queries[:, :, None] + self._dense("memory")(memory)[:, None]
        mixed = Mlp(self.size.width, self.dtype, name="mlp")(self._norm("norm_expanded", expanded))
        head = Dense(self.values, kernel_init=xavier, dtype=self.dtype, name="head_regions")
        return head(nn.gelu(mixed, approximate=False)).astype(jnp.float32)

    def _queries(self, maps: Array, mask: Mask) -> Array:
        """Return a vector of each region, [B, R, W], of its visible patches."""
        size, (examples, regions, count, _) = self.size, maps.shape
        places = jnp.asarray(sincos(size.width, self.grid), self.dtype)[mask.visible]
        x = self._dense("region_embed")(maps.astype(self.dtype) - 0.5) + places[:, None]
        shape = self.region_depth, size.heads, size.hidden, self.epsilon, self.dtype
        blocks = Blocks(*shape, self.attend, self.remat, self.unroll, name="region_stack")
        x, _ = blocks(x.reshape(examples * regions, count, size.width))
        vectors = jnp.mean(x.astype(jnp.float32), axis=1).reshape(examples, regions, size.width)
        return self._dense("project")(self._norm("norm_project", vectors))

    def _attend(self, queries: Array) -> Array:
        attention = Attention(self.size.heads, self.dtype, self.attend, name="attention")
        return queries + attention(self._norm("norm_queries", queries))[0]

    def _norm(self, name: str, x: Array) -> Array:
        return Norm(self.epsilon, self.dtype, name=name)(x)

    def _dense(self, name: str) -> Dense:
        return Dense(self.size.width, kernel_init=xavier, dtype=self.dtype, name=name)


def vit_r_mae(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    decoder_depth: Depth = 8,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    region_depth: Depth = 1,
    memory_depth: Depth = 8,
    region_width: PositiveInt = 128,
    region_heads: PositiveInt = 8,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build MAE with a branch that predicts regions.

    region_depth: blocks over the visible patches of a region. memory_depth: blocks over all tokens
    of the picture. region_width, region_heads: of both.
    Other keywords are those of `masked_vit.vit_mae`.
    The function 'regions' of `Net.calls` predicts regions: (params, Encoded, mask, maps
    f32[B, R, K, pixels of a patch] in [0, 1] of the visible tokens) -> logits f32[B, R, P, pixels].
    params: {'encoder': ..., 'decoder': ..., 'regions': ...}. Raises ModelError as vit_mae does.
    Source: R-MAE (arXiv 2306.05411), pretrain/module/rmae.py and config/RMAE/base_rmae.yaml of
    facebookresearch/r-mae.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    branch = RegionBranch(
        region_depth=region_depth,
        values=math.prod(patch),
        size=vit.decoder_size(memory_depth, region_width, region_heads),
        **common,
    )
    net = vit_mae(
        spec,
        variant=variant,
        patch=patch,
        decoder_depth=decoder_depth,
        decoder_width=decoder_width,
        decoder_heads=decoder_heads,
        heads=heads,
        norm_eps=norm_eps,
        compute=compute,
    )

    def init(key: Array) -> Tree:
        token = jnp.zeros((1, 1), jnp.int32)
        mask = Mask(token, token, jnp.zeros((1, math.prod(branch.grid)), bool), jnp.ones((1, 1)))
        blank = jnp.zeros((1, 1, net.width))
        maps = jnp.zeros((1, 1, 1, branch.values))
        own = branch.init(jax.random.fold_in(key, 1), Encoded(blank, blank), mask, maps)
        return {**net.init(key), "regions": own["params"]}

    def regions(params: Tree, encoded: Encoded, mask: Mask, maps: Array) -> Array:
        mask = jax.tree.map(constraints.constrain_examples, mask)
        maps = constraints.constrain_examples(maps)
        return branch.apply({"params": params["regions"]}, encoded, mask, maps)

    words = f"memory of {vit.describe_blocks(branch)}; {region_depth} over the patches of a region"
    return net._replace(init=init, calls={"regions": regions}, says=(*net.says, ("regions", words)))
