"""CropMAE: predict the hidden tokens of one view from those of another, by cross-attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import Depth, FractionBelowOne, Positive, PositiveInt, Size2D
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.attention import Attend, attention_scores
from maskmim.models.layers.blocks import Dtype, Norm, scan_blocks, xavier
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense, DenseGeneral
from maskmim.models.layers.dropout import drop, for_blocks
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.heads import dense_heads, describe_heads, head_widths
from maskmim.models.layers.init import small_normal
from maskmim.models.layers.posembed import sincos
from maskmim.models.mae_decoder import scatter_tokens
from maskmim.models.net import picture_net, token_grid
from maskmim.models.vit import Stack
from maskmim.types import Array, Encoded, Mask, Net, Randomness, Spec

MEMORY = "memory"  # what the predictor reads of `Encoded.given`


def third_of_xavier(outputs: int) -> nn.initializers.Initializer:
    """Return Xavier's distribution of queries, keys and values in one kernel [D, 3 D].

    outputs: how many of the three the layer makes, each as wide as its input. Torch's
    MultiheadAttention draws all three at once, so that their bound is sqrt(6 / (4 D)).
    """
    return nn.initializers.variance_scaling((1 + outputs) / 4, "fan_avg", "uniform")


class DroppingAttention(nn.Module):
    """Multi-head attention to other tokens of the same width, with dropout of its weights."""

    heads: int
    dtype: Dtype
    attend: Attend
    rate: float

    @nn.compact
    def __call__(self, x: Array, seen: Array, randomness: Randomness | None) -> Array:
        """Map queries [B, n, D] and what they read, [B, m, D], to [B, n, D]."""
        width = x.shape[-1]
        size = width // self.heads
        dense = partial(DenseGeneral, dtype=self.dtype)
        query = dense((self.heads, size), kernel_init=third_of_xavier(1), name="query")(x)
        kv = dense((2, self.heads, size), kernel_init=third_of_xavier(2), name="kv")(seen)
        key, value = jnp.moveaxis(kv, (2, 3), (0, 2))
        query, key, value = constraints.constrain_qkv(jnp.moveaxis(query, 1, 2), key, value)
        mixed = constraints.constrain_attended(self._attend(query, key, value, randomness))
        merge = dense(width, axis=(-2, -1), kernel_init=xavier, name="out")
        return merge(jnp.moveaxis(mixed, 1, 2))

    def _attend(
        self, query: Array, key: Array, value: Array, randomness: Randomness | None
    ) -> Array:
        if randomness is None:
            return self.attend(query, key, value)
        scores = attention_scores(query, key) / math.sqrt(query.shape[-1])
        weights = drop(jax.nn.softmax(scores, axis=-1), randomness, "weights", rate=self.rate)
        return jnp.einsum("bhqk,bhkd->bhqd", weights.astype(value.dtype), value)


class DroppingMlp(nn.Module):
    """Two dense layers with an exact GELU and dropout between them."""

    hidden: int
    dtype: Dtype
    rate: float

    @nn.compact
    def __call__(self, x: Array, randomness: Randomness | None) -> Array:
        """Map [B, n, D] -> [B, n, D]."""
        up = Dense(self.hidden, kernel_init=xavier, dtype=self.dtype, name="up")
        down = Dense(x.shape[-1], kernel_init=xavier, dtype=self.dtype, name="down")
        return down(drop(nn.gelu(up(x), approximate=False), randomness, "hidden", rate=self.rate))


class ReadingBlock(nn.Module):
    """A post-norm block: attention to the memory, an MLP, then attention among the tokens.

    Each of the three adds its result, after dropout, to its input; LayerNorm follows the sum.
    """

    heads: int
    hidden: int
    epsilon: float
    dtype: Dtype
    attend: Attend
    rate: float

    @nn.compact
    def __call__(
        self, x: Array, memory: Array, randomness: Randomness | None
    ) -> tuple[Array, None]:
        """Map tokens [B, n, D] and the memory [B, m, D] to ([B, n, D], None)."""
        attention = partial(DroppingAttention, self.heads, self.dtype, self.attend, self.rate)
        cross, own = attention(name="cross_attention"), attention(name="self_attention")
        mlp = DroppingMlp(self.hidden, self.dtype, self.rate, name="mlp")
        x, memory = constraints.constrain_tokens(x), constraints.constrain_tokens(memory)
        x = self._add("cross", x, cross(x, memory, _inside(randomness, "cross")), randomness)
        x = self._add("mlp", x, mlp(x, _inside(randomness, "mlp")), randomness)
        x = self._add("self", x, own(x, x, _inside(randomness, "self")), randomness)
        return x, None

    def _add(self, name: str, x: Array, branch: Array, randomness: Randomness | None) -> Array:
        total = constraints.constrain_tokens(x + drop(branch, randomness, name, rate=self.rate))
        return Norm(self.epsilon, self.dtype, name=f"norm_{name}")(total)


def _inside(randomness: Randomness | None, name: str) -> Randomness | None:
    return None if randomness is None else randomness.inside(name)


class SiameseDecoder(Stack):
    """A decoder over the whole grid of a view, which reads the encoded tokens of another view.

    One dense layer takes both views to the decoder's width. Mask tokens fill the hidden places of
    the view and get fixed positions with the visible ones; the class token gets none, nor does the
    memory, which has its own class token.

    heads:   {name: values}; a head is a dense layer on the predicted tokens alone.
    dropout: rate in the blocks, of attention weights, hidden units and the results of all three
             parts; without randomness nothing is dropped.
    Source: CropMAE (arXiv 2403.17823), models/SiamMAE.py and models/components/DecoderBlock.py.
    Difference: the official code computes its head on every token, this one on the predicted
    tokens, with the same numbers there.
    """

    heads: Mapping[str, int]
    dropout: float

    @nn.compact
    def __call__(
        self, encoded: Encoded, mask: Mask, *, randomness: Randomness | None = None
    ) -> dict[str, Array]:
        """Predict {head: f32[B, P, values]} from a view, its mask and the memory f32[B, m, D]."""
        width, prefix = self.size.width, encoded.prefix.shape[1]
        embed = Dense(width, kernel_init=xavier, dtype=self.dtype, name="embed")
        x = self._fill(encoded, mask, embed)
        memory = constraints.embed_tokens(embed, self._memory(encoded))
        x, _ = self._blocks()(
            x, memory, for_blocks(randomness, depth=self.size.depth, rate=self.dropout)
        )
        _, x = constraints.split_tokens(x, prefix)
        x = constraints.select_tokens(x, mask.predict)
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        return dense_heads(self.heads, x, self.dtype)

    def _fill(self, encoded: Encoded, mask: Mask, embed: Dense) -> Array:
        """Return the prefix and the tokens of the whole grid with positions: [B, R + N, W]."""
        width = self.size.width
        prefix = embed(constraints.constrain_examples(encoded.prefix))
        seen = constraints.embed_tokens(embed, encoded.tokens)
        filling = self.param("mask_token", small_normal, (1, 1, width)).astype(self.dtype)
        tokens = scatter_tokens(filling, seen, mask.visible, math.prod(self.grid))
        table = jnp.asarray(sincos(width, self.grid), self.dtype)[None]
        return constraints.concat_tokens(prefix, tokens + table)

    def _memory(self, encoded: Encoded) -> Array:
        if MEMORY in encoded.given:
            return encoded.given[MEMORY]
        if self.is_initializing():  # Parameters do not depend on what is read.
            return jnp.concatenate([encoded.prefix, encoded.tokens], axis=1)
        raise ModelError(
            "the predictor of vit_siamese reads the encoded tokens of another view, and got none: "
            "use method maskmim.methods.views.masked_views, with `reads` saying which view each "
            "predicted view reads, or a model that reads its own view alone, such as "
            "maskmim.models.masked_vit.vit_mae"
        )

    def _blocks(self) -> nn.Module:
        """Return the blocks under one scan over their parameters and their randomness."""
        size = self.size
        make = scan_blocks(
            ReadingBlock,
            depth=size.depth,
            remat=self.remat,
            unroll=self.unroll,
            in_axes=(nn.broadcast, 0),
        )
        shape = size.heads, size.hidden, self.epsilon, self.dtype, self.attend, self.dropout
        return make(*shape, name="blocks")


def vit_siamese(
    spec: Spec,
    *,
    variant: str = "S",
    patch: Size2D = (16, 16),
    decoder_depth: Depth = 4,
    decoder_width: PositiveInt = 256,
    decoder_heads: PositiveInt = 8,
    decoder_hidden: PositiveInt = 2048,
    dropout: FractionBelowOne = 0.1,
    heads: Mapping[str, PositiveInt | None] = {"pixels": None},
    norm_eps: Positive = 1e-6,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build MAE's encoder, shared by views, with a decoder that reads another view.

    decoder_hidden: hidden units of the decoder's MLPs, 2048 in the official code for every width.
    dropout:        rate in the decoder's blocks in training; the encoder drops nothing.
    Other keywords are those of `masked_vit.vit_mae`.
    params: {'encoder': ..., 'decoder': ...}.
    `Net.predict` needs `Encoded.given['memory']` f32[B, m, D], the other view's prefix and tokens
    as `masked_views` gives them, and raises ModelError without it. Raises ModelError for sizes
    that do not divide and names that are unknown.
    Source: CropMAE (arXiv 2403.17823), models/SiamMAE.py: siam_mae_vit_small.
    """
    common = vit.stack_fields(token_grid(spec.size, patch), norm_eps, compute())
    encoder = vit.build_encoder(variant, common)
    size = vit.Size(decoder_depth, decoder_width, decoder_heads, decoder_hidden)
    decoder = SiameseDecoder(
        heads=head_widths(heads, patch, spec.channels),
        dropout=dropout,
        size=vit.check_size(size, "the decoder"),
        **common,
    )
    words = (
        f"{vit.describe_blocks(decoder)}, cross-attention to another view, dropout {dropout:g}, "
        f"heads: {describe_heads(decoder.heads)} values"
    )
    net = picture_net(
        spec,
        patch=patch,
        width=encoder.size.width,
        encoder=encoder,
        predictor=decoder,
        says=(("encoder", vit.describe_blocks(encoder)), ("decoder", words)),
    )
    return net._replace(reads=(MEMORY,))
