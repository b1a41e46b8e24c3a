"""Latent MIM: a projector behind the encoder, and a decoder of queries made of visible latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, Positive, PositiveInt, Size2D
from maskmim.models import projectors, vit
from maskmim.models.crossmae import CrossAttention
from maskmim.models.layers import constraints
from maskmim.models.layers.attention import Attend
from maskmim.models.layers.blocks import Attention, Dtype, Mlp, Norm, scan_blocks, xavier
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.heads import dense_heads
from maskmim.models.layers.init import small_normal
from maskmim.models.layers.posembed import fixed_positions
from maskmim.models.net import token_grid, vit_net
from maskmim.models.vit import Stack
from maskmim.types import Array, Encoded, LearnedFunction, Mask, Net, Randomness, Spec, Tree

PROJECTED = "projected"  # what the encoder puts into `Encoded.given`
POSITIONS = "sincos_stretched"


class QueryBlock(nn.Module):
    """A pre-norm block: attention among the queries, attention to what is visible, an MLP."""

    heads: int
    hidden: int
    epsilon: float
    dtype: Dtype
    attend: Attend

    @nn.compact
    def __call__(self, x: Array, seen: Array) -> tuple[Array, None]:
        """Map queries [B, P, W] and visible tokens [B, n, W] to ([B, P, W], None)."""
        norm = partial(Norm, self.epsilon, self.dtype)
        parts = self.heads, self.dtype, self.attend
        x, seen = constraints.constrain_tokens(x), constraints.constrain_tokens(seen)
        mixed, _ = Attention(*parts, name="self_attention")(norm(name="norm1")(x))
        x = constraints.constrain_tokens(x + mixed)
        read = CrossAttention(*parts, name="cross_attention")
        x = x + read(norm(name="norm2")(x), norm(name="norm_seen")(seen))
        x = constraints.constrain_tokens(x)
        y = norm(name="norm3")(x)
        return constraints.constrain_tokens(x + Mlp(self.hidden, self.dtype, name="mlp")(y)), None


class CueDecoder(Stack):
    """A decoder of the predicted tokens alone, whose queries start from visible tokens near them.

    A query is the mask token, which starts as 0, plus the mean of the visible tokens, weighted by
    the softmax of the products of positions / sqrt(width), plus its position. Queries, a class
    token among them, attend to each other and to the visible tokens with theirs.
    heads: {name: values}; a head is a dense layer.
    Source: CrossDecoder of xvits.py, CrossPositionAttentionStem of vits.py, yibingwei-1/LatentMIM.
    """

    heads: Mapping[str, int]

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {head: f32[B, P, values]} from projected tokens and their mask."""
        width = self.size.width
        embed = Dense(width, kernel_init=xavier, dtype=self.dtype, name="embed")
        prefix = embed(constraints.constrain_examples(encoded.prefix))
        seen = constraints.embed_tokens(embed, encoded.tokens)
        table = jnp.asarray(fixed_positions(POSITIONS, width, self.grid))
        wanted, known = (
            table.at[tokens].get(mode="promise_in_bounds")
            for tokens in (mask.predict, mask.visible)
        )
        token = self.param("mask_token", nn.initializers.zeros, (1, 1, width)).astype(self.dtype)
        queries = token + near_cues(wanted, known, seen) + wanted.astype(self.dtype)
        first = self.param("class_token", small_normal, (1, 1, width)).astype(self.dtype)
        first = jnp.broadcast_to(first, (len(queries), 1, width))
        seen = constraints.concat_tokens(prefix, seen + known.astype(self.dtype))
        x, _ = self._blocks()(constraints.concat_tokens(first, queries), seen)
        _, x = constraints.split_tokens(x, 1)
        x = Norm(self.epsilon, self.dtype, name="norm")(constraints.constrain_tokens(x))
        return dense_heads(self.heads, x, self.dtype)

    def _blocks(self) -> nn.Module:
        """Return the blocks under one scan over their parameters."""
        size = self.size
        make = scan_blocks(
            QueryBlock,
            depth=size.depth,
            remat=self.remat,
            unroll=self.unroll,
            in_axes=nn.broadcast,
        )
        return make(size.heads, size.hidden, self.epsilon, self.dtype, self.attend, name="blocks")


def near_cues(wanted: Array, known: Array, seen: Array) -> Array:
    """Average visible tokens [B, K, W] by how near their positions are to those of queries.

    wanted, known: positions f32[B, P, W] of queries, f32[B, K, W] of the visible tokens.
    Returns [B, P, W], with weights softmax(wanted known^T / sqrt(W)) over the visible tokens.
    """
    products = jnp.einsum("bpw,bkw->bpk", wanted, known, precision=jax.lax.Precision.HIGHEST)
    weights = jax.nn.softmax(products * wanted.shape[-1] ** -0.5, axis=-1)
    return jnp.einsum("bpk,bkw->bpw", weights.astype(seen.dtype), seen)


def vit_latent_mim(
    spec: Spec,
    *,
    variant: str = "B",
    patch: Size2D = (16, 16),
    projector_layers: PositiveInt = 3,
    projector_hidden: PositiveInt = 4096,
    decoder_depth: Depth = 3,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    norm_eps: Positive = 1e-6,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a ViT over visible tokens, a projector of its output, and a decoder of projections.

    projector_layers, projector_hidden: of an MLP without biases, with LayerNorm behind each layer;
              its output is as wide as the encoder and predicted by the head 'features'.
    Other keywords are those of `masked_vit.vit_mae`.
    params: {'encoder': ..., 'projector': ..., 'decoder': ...}. `Encoded.given['projected']`
    f32[B, R + K, D] are the projections of prefix and tokens; `Encoded.tokens` are the encoder's
    own, so that evaluation reads what lies before the projector.
    Raises ModelError for sizes that do not divide and names that are unknown.
    Source: Latent MIM (arXiv 2407.15837), models_lmim.py of yibingwei-1/LatentMIM.
    """
    settings = compute()
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, settings)
    encoder = vit.build_encoder(variant, common, positions=POSITIONS)
    width = encoder.size.width
    decoder = CueDecoder(
        heads={"features": width},
        size=vit.decoder_size(decoder_depth, decoder_width, decoder_heads),
        **common,
    )
    projector = projectors.mlp(
        width,
        layers=projector_layers,
        hidden=projector_hidden,
        norm="layer",
        norm_eps=1e-5,
        activation="gelu",
        last_norm=True,
        dtype=settings.dtype,
    )
    return with_projector(vit_net(spec, patch=patch, encoder=encoder, decoder=decoder), projector)


def with_projector(net: Net, projector: LearnedFunction) -> Net:
    """Return a network whose predictor reads its encoder's output through a projector.

    The projector's parameters stand under 'projector', its outputs in `Encoded.given['projected']`.
    """

    def init(key: Array) -> Tree:
        return {**net.init(key), "projector": projector.init(jax.random.fold_in(key, 1))}

    def encode(params: Tree, inputs: Array, mask: Mask | None, **options: Any) -> Encoded:
        encoded = net.encode(params, inputs, mask, **options)
        x = constraints.concat_tokens(encoded.prefix, encoded.tokens)
        projected = projector.call(params["projector"], x)
        return encoded._replace(given={**encoded.given, PROJECTED: projected})

    def predict(
        params: Tree, encoded: Encoded, mask: Mask, *, randomness: Randomness | None = None
    ) -> dict[str, Array]:
        projected = encoded.given[PROJECTED]
        split = constraints.split_tokens(projected, encoded.prefix.shape[1])
        return net.predict(params, Encoded(*split), mask, randomness=randomness)

    encoder_words, *others = net.says
    says = (encoder_words, ("projector", projector.says), *others)
    return net._replace(init=init, encode=encode, predict=predict, says=says)
