"""CAE: a regressor of hidden latents from visible ones, and a decoder of hidden latents alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, FractionBelowOne, Positive, PositiveInt, Sizes
from maskmim.errors import count_of
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.attention import Attend
from maskmim.models.layers.blocks import (
    Dtype,
    Mlp,
    Norm,
    ReadingAttention,
    scale_branch,
    scan_blocks,
)
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.drop_path import drop_path_factors
from maskmim.models.layers.heads import dense_heads, describe_heads, head_widths
from maskmim.models.layers.init import draw_narrow_normal, narrow_normal, with_init
from maskmim.models.layers.layer_scale import LayerScale
from maskmim.models.layers.posembed import sincos
from maskmim.models.net import picture_net, token_grid
from maskmim.models.scaled_vit import ScaledEncoder, make_scaled_blocks
from maskmim.models.vit import Stack
from maskmim.types import Array, Encoded, Mask, Net, Randomness, Spec


class RegressorBlock(nn.Module):
    """A block in which hidden tokens read visible and hidden ones; visible latents do not change.

    Positions are added to queries and keys, not to values. The MLP's output is added to its
    normalised input: the residual stream goes on from the norm after the attention.
    """

    heads: int
    hidden: int
    epsilon: float
    dtype: Dtype
    attend: Attend
    layer_scale: float

    @nn.compact
    def __call__(
        self, x: Array, keep: Array | None, seen: Array, places: Array, seen_places: Array
    ) -> tuple[Array, None]:
        """Map [B, P, D] -> ([B, P, D], None).

        keep: f32[B, 2] factors of both branches.
        seen: [B, K, D] latents of the visible tokens.
        places, seen_places: positions of x and of seen.
        """
        norm = partial(Norm, self.epsilon, self.dtype)
        all_tokens = constraints.constrain_tokens(
            constraints.concat_tokens(seen, constraints.constrain_tokens(x))
        )
        all_places = jnp.concatenate([seen_places, places], axis=1)
        read = ReadingAttention(self.heads, self.dtype, self.attend, name="attention")(
            norm(name="norm_query")(x + places),
            norm(name="norm_key")(all_tokens + all_places),
            norm(name="norm_value")(all_tokens),
        )
        x = x + scale_branch(LayerScale(self.layer_scale, name="scale1")(read), keep, 0)
        x = norm(name="norm2")(constraints.constrain_tokens(x))
        y = Mlp(self.hidden, self.dtype, name="mlp")(x)
        y = scale_branch(LayerScale(self.layer_scale, name="scale2")(y), keep, 1)
        return constraints.constrain_tokens(x + y), None


class RegressorDecoder(Stack):
    """A regressor of the latents of the predicted tokens, and a decoder of these alone.

    size:  of the decoder, as wide as the encoder.
    heads: {name: values} of the decoder.
    A further head 'latent' is the regressor's output, to be aligned with the encoder's. The class
    token is not read. Positions are fixed, and added again before the decoder.
    Source: CAE (arXiv 2202.03026), LatentRegresser and Decoder of models/modeling_cae_helper.py,
    Atten4Vis/CAE.
    """

    regressor_depth: int
    heads: Mapping[str, int]
    layer_scale: float
    drop_path: float

    @nn.compact
    def __call__(
        self, encoded: Encoded, mask: Mask, randomness: Randomness | None = None
    ) -> dict[str, Array]:
        """Predict {'latent': f32[B, P, D], head: f32[B, P, values]} from encoded tokens and mask.

        randomness: of dropped paths; without it none are dropped.
        """
        table = jnp.asarray(sincos(self.size.width, self.grid), self.dtype)
        places = table.at[mask.predict].get(mode="promise_in_bounds")
        keep = self._drop_path(randomness, "regressor", self.regressor_depth)
        latent = self._regress(encoded.tokens, table, places, mask, keep)
        keep = self._drop_path(randomness, "decoder", self.size.depth)
        x, _ = make_scaled_blocks(self)(latent + places, (), keep)
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        return {"latent": latent.astype(jnp.float32), **dense_heads(self.heads, x, self.dtype)}

    def _drop_path(self, randomness: Randomness | None, name: str, depth: int) -> Array | None:
        apart = None if randomness is None else randomness.inside(name)
        return drop_path_factors(apart, depth=depth, rate=self.drop_path)

    def _regress(
        self, seen: Array, table: Array, places: Array, mask: Mask, keep: Array | None
    ) -> Array:
        token = self.param("mask_token", narrow_normal, (1, 1, self.size.width))
        seen_places = table.at[mask.visible].get(mode="promise_in_bounds")
        make = scan_blocks(
            RegressorBlock,
            depth=self.regressor_depth,
            remat=self.remat,
            unroll=self.unroll,
            in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast),
        )
        shape = self.size.heads, self.size.hidden, self.epsilon, self.dtype, self.attend
        blocks = make(*shape, self.layer_scale, name="regressor_blocks")
        queries = jnp.broadcast_to(token.astype(self.dtype), places.shape)
        x, _ = blocks(queries, keep, seen, places, seen_places)
        return Norm(self.epsilon, self.dtype, name="latent_norm")(x)


def vit_cae(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Sizes = (16, 16),
    layer_scale: Positive = 0.1,
    regressor_depth: Depth = 4,
    decoder_depth: Depth = 4,
    heads: Mapping[str, PositiveInt | None] = {"tokens": 8192},
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.1,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a ViT over visible tokens, CAE's regressor and its decoder, all of one width.

    layer_scale: initial factor of every residual branch.
    heads:       of the decoder; 'latent' is a further one, see `RegressorDecoder`.
    drop_path:   rate of the last blocks of encoder, regressor and decoder.
    Other keywords are those of `masked_vit.vit_mae`.
    Raises ModelError for sizes that do not divide and names that are unknown.
    Source: CAE (arXiv 2202.03026), models/modeling_cae.py, Atten4Vis/CAE.
    Differences: keys have a bias too, which cancels in the softmax; positions lead with the
    columns, those of the official code with the rows; latents are never projected to another width,
    which no released model does either.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    size = vit.variant(variant)
    encoder = ScaledEncoder(
        size=size,
        class_token=True,
        registers=0,
        positions="sincos",
        mask_token=False,
        drop_path=drop_path,
        layer_scale=layer_scale,
        **common,
    )
    predictor = RegressorDecoder(
        size=size._replace(depth=decoder_depth),
        regressor_depth=regressor_depth,
        heads=head_widths(heads, patch, spec.channels),
        layer_scale=layer_scale,
        drop_path=drop_path,
        **common,
    )
    decoder_words = vit.describe_blocks(predictor)
    net = picture_net(
        spec,
        patch=patch,
        width=size.width,
        encoder=encoder,
        predictor=predictor,
        says=(
            ("encoder", f"{vit.describe_blocks(encoder)}, LayerScale"),
            ("regressor", f"{count_of(regressor_depth, 'block')} of cross-attention, head: latent"),
            ("decoder", f"{decoder_words}, heads: {describe_heads(predictor.heads)} values"),
        ),
    )
    return with_init(net, ((r"encoder/(embed/kernel|class_token)$", draw_narrow_normal),))
