"""CAPI's ViT: rotary positions, RMS norms, no biases, registers, a predictor of cross-attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import (
    Depth,
    FractionBelowOne,
    NonNegativeInt,
    Positive,
    PositiveInt,
    Size2D,
)
from maskmim.errors import count_of
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.attention import Attend, first_token_attention
from maskmim.models.layers.blocks import Dtype, scale_branch, scan_blocks, xavier
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense, DenseGeneral
from maskmim.models.layers.encoder import UniformEncoder
from maskmim.models.layers.heads import describe_heads
from maskmim.models.layers.init import draw_normal, small_normal, with_init
from maskmim.models.layers.patches import gather
from maskmim.models.layers.rotary import angles, border_coordinates, grid_coordinates, rotate
from maskmim.models.net import picture_net, token_grid
from maskmim.models.projection import WeightNormed
from maskmim.models.vit import Stack, stack_fields
from maskmim.quantize.vector_quantize import l2_normalise
from maskmim.types import Array, Encoded, Mask, Net, Randomness, Spec


class RmsNorm(nn.Module):
    """RMSNorm in float32, with or without a learnt factor for each channel."""

    epsilon: float
    dtype: Dtype
    factors: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Normalise [..., D] -> [..., D] in the compute dtype."""
        norm = nn.RMSNorm(self.epsilon, dtype=jnp.float32, use_scale=self.factors, name="norm")
        return norm(x).astype(self.dtype)


class RotaryAttention(nn.Module):
    """Multi-head self- or cross-attention with rotary positions and without biases."""

    heads: int
    dtype: Dtype
    attend: Attend

    @nn.compact
    def __call__(self, x: Array, seen: Array, at: Array, seen_at: Array) -> tuple[Array, Array]:
        """Map queries [B, P, W] to ([B, P, W], attention of the first query f32[B, heads, n]).

        seen: [B, n, D] what the queries read.
        at, seen_at: angles of both, f32[B, 1, P, size] and f32[B, 1, n, size].
        """
        width = x.shape[-1]
        dense = partial(DenseGeneral, use_bias=False, kernel_init=xavier, dtype=self.dtype)
        shape = self.heads, width // self.heads
        query = rotate(jnp.moveaxis(dense(shape, name="query")(x), 1, 2), at)
        key = rotate(jnp.moveaxis(dense(shape, name="key")(seen), 1, 2), seen_at)
        value = jnp.moveaxis(dense(shape, name="value")(seen), 1, 2)
        query, key, value = constraints.constrain_qkv(query, key, value)
        mixed = constraints.constrain_attended(self.attend(query, key, value))
        mixed = jnp.moveaxis(mixed, 1, 2)
        return dense(width, axis=(-2, -1), name="out")(mixed), first_token_attention(query, key)


class PlainMlp(nn.Module):
    """`layers.blocks.Mlp` without biases."""

    hidden: int
    dtype: Dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, n, D] -> [B, n, D]."""
        dense = partial(Dense, use_bias=False, kernel_init=xavier, dtype=self.dtype)
        hidden = nn.gelu(dense(self.hidden, name="up")(x), approximate=False)
        return dense(x.shape[-1], name="down")(hidden)


class RotaryBlock(nn.Module):
    """A pre-norm block of self- or cross-attention and an MLP; `seen` is read without a norm."""

    heads: int
    hidden: int
    epsilon: float
    dtype: Dtype
    attend: Attend
    capture: tuple[str, ...] = ()

    @nn.compact
    def __call__(
        self, x: Array, keep: Array | None, at: Array, seen: Array | None, seen_at: Array | None
    ) -> tuple[Array, dict[str, Array]]:
        """Map [B, n, D] -> ([B, n, D], captures).

        keep: f32[B, 2] factors of both branches.
        at:   angles of x.
        seen, seen_at: what x reads, and its angles; None for x itself.
        """
        norm = partial(RmsNorm, self.epsilon, self.dtype)
        x = constraints.constrain_tokens(x)
        y = norm(name="norm1")(x)
        reads = (y, at, at) if seen is None else (seen, at, seen_at)
        attention = RotaryAttention(self.heads, self.dtype, self.attend, name="attention")
        mixed, first = attention(y, *reads)
        x = constraints.constrain_tokens(x + scale_branch(mixed, keep, 0))
        y = PlainMlp(self.hidden, self.dtype, name="mlp")(norm(name="norm2")(x))
        x = constraints.constrain_tokens(x + scale_branch(y, keep, 1))
        captures = {"layers": x, "attention": first}
        return x, {name: captures[name] for name in self.capture}


class RotaryEncoder(UniformEncoder, Stack):
    """Patch embedding, registers around the visible tokens, blocks, a norm without factors.

    Hidden tokens do not enter: there is no mask embedding.
    registers: a multiple of 4. drop_path: rate of every block.
    """

    registers: int
    drop_path: float

    def _embed(
        self, patches: Array, visible: Array | None, hidden: Array | None
    ) -> tuple[Array, Array]:
        if visible is not None:
            patches = constraints.constrain_examples(gather(patches, visible))
        embed = Dense(self.size.width, kernel_init=xavier, dtype=self.dtype, name="embed")
        tokens = constraints.embed_tokens(embed, patches.astype(self.dtype))
        shape = 1, self.registers, self.size.width
        registers = self.param("registers", small_normal, shape).astype(self.dtype)
        return jnp.broadcast_to(registers, (len(tokens), *shape[1:])), tokens

    def _run_blocks(
        self,
        x: Array,
        visible: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> tuple[Array, dict[str, Array]]:
        keep = constant_drop_path_factors(randomness, depth=self.size.depth, rate=self.drop_path)
        coordinates = visible_coordinates(self.grid, visible, len(x), self.registers)
        at = angles(coordinates, self.size.width // self.size.heads)
        return make_rotary_blocks(self, capture=capture)(x, keep, at, None, None)

    def _norm(self) -> nn.Module:
        return RmsNorm(self.epsilon, self.dtype, factors=False, name="norm")


class RotaryPredictor(Stack):
    """Mask tokens at the predicted places, each of which reads the visible tokens independently.

    registers: of the encoder; keys have their places.
    heads:     {name: values}; a head returns the cosines between tokens and learnt directions, each
               times a learnt factor, initially 1.
    Source: CAPI (arXiv 2502.08769), EncoderDecoder and L2NormLinear of model.py,
    facebookresearch/capi.
    """

    registers: int
    heads: Mapping[str, int]
    drop_path: float

    @nn.compact
    def __call__(
        self, encoded: Encoded, mask: Mask, randomness: Randomness | None = None
    ) -> dict[str, Array]:
        """Predict {head: f32[B, P, values]} from the encoded tokens and their mask.

        randomness: of dropped paths; without it none are dropped.
        """
        width = self.size.width
        token = self.param("mask_token", small_normal, (1, 1, width)).astype(self.dtype)
        x = jnp.broadcast_to(token, (*mask.predict.shape, width))
        seen = constraints.constrain_tokens(
            constraints.concat_tokens(encoded.prefix, encoded.tokens)
        )
        seen_at = visible_coordinates(self.grid, mask.visible, len(seen), self.registers)
        query_places = token_coordinates(self.grid, mask.predict)
        turns = partial(angles, size=width // self.size.heads)
        keep = constant_drop_path_factors(randomness, depth=self.size.depth, rate=self.drop_path)
        x, _ = make_rotary_blocks(self, capture=())(
            x, keep, turns(query_places), seen, turns(seen_at)
        )
        x = RmsNorm(self.epsilon, self.dtype, factors=False, name="norm")(x)
        x = l2_normalise(x.astype(jnp.float32))
        return {
            name: WeightNormed(values, self.dtype, name=f"head_{name}")(x)
            for name, values in self.heads.items()
        }


def token_coordinates(grid: tuple[int, ...], tokens: Array) -> Array:
    """Return the coordinates f32[B, P, 2] of tokens i32[B, P] of a grid."""
    return jnp.asarray(grid_coordinates(grid)).at[tokens].get(mode="promise_in_bounds")


def visible_coordinates(
    grid: tuple[int, ...], visible: Array | None, examples: int, registers: int
) -> Array:
    """Return the coordinates f32[B, R + K, 2] of registers and visible tokens.

    visible: i32[B, K]; None for all tokens.
    Registers lie on the border of the smallest rectangle around the visible tokens. Where a visible
    rectangle wraps around the edges of the grid, that is often the whole picture.
    """
    if visible is None:
        table = jnp.asarray(grid_coordinates(grid))
        tokens = jnp.broadcast_to(table, (examples, *table.shape))
    else:
        tokens = token_coordinates(grid, visible)
    low = jnp.min(tokens, axis=1, keepdims=True)
    high = jnp.max(tokens, axis=1, keepdims=True)
    return jnp.concatenate(
        [low + border_coordinates(registers)[None] * (high - low), tokens], axis=1
    )


def make_rotary_blocks(part: Stack, *, capture: tuple[str, ...]) -> nn.Module:
    """Return the blocks of a module under one scan; all share angles and what they read."""
    size = part.size
    make = scan_blocks(
        RotaryBlock,
        depth=size.depth,
        remat=part.remat,
        unroll=part.unroll,
        in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast),
    )
    shape = size.heads, size.hidden, part.epsilon, part.dtype
    return make(*shape, part.attend, capture, name="blocks")


def constant_drop_path_factors(
    randomness: Randomness | None, *, depth: int, rate: float
) -> Array | None:
    """Return factors as `drop_path.drop_path_factors`, with the same rate in every block.

    Difference: EfficientResidual of model.py, facebookresearch/capi, drops an exact share of a
    device's examples; here each example is dropped independently, with the same expectation.
    """
    if randomness is None or rate == 0:
        return None

    def draw(key: Array) -> Array:
        kept = jax.random.bernoulli(key, jnp.float32(1 - rate), (depth, 2))
        return kept.astype(jnp.float32) / (1 - rate)

    return jax.vmap(draw, out_axes=1)(randomness.each("drop_path"))


def vit_rotary(
    spec: Spec,
    *,
    variant: str = "L",
    patch: Size2D = (14, 14),
    registers: NonNegativeInt = 16,
    decoder_depth: Depth = 12,
    heads: Mapping[str, PositiveInt] = {"clusters": 16384},
    norm_eps: Positive = 1e-5,
    drop_path: FractionBelowOne = 0.2,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build a ViT over visible patches and a predictor of cross-attention, as wide as the encoder.

    registers: number of prefix tokens, a multiple of 4; the network has no class token.
    heads:     {name: values per token}, see `RotaryPredictor`.
    drop_path: rate of every block, of the predictor's too.
    Other keywords are those of `masked_vit.vit_mae`. params: {'encoder': ..., 'decoder': ...}.
    Raises ModelError for sizes that do not divide and names that are unknown, RotaryError for
    grids, heads or registers that rotary positions do not support.
    Source: CAPI (arXiv 2502.08769), EncoderDecoder of model.py, facebookresearch/capi.
    Differences: angles are float32 (officially of the dtype of the computation); the bias of the
    patch embedding starts at 0 (officially as torch initialises convolutions).
    """
    grid = token_grid(spec.size, patch)
    common = stack_fields(grid, norm_eps, compute())
    size = vit.variant(variant)
    fields = {"registers": registers, "drop_path": drop_path, **common}
    encoder = RotaryEncoder(size=size, **fields)
    predictor = RotaryPredictor(size=size._replace(depth=decoder_depth), heads=heads, **fields)
    blocks, crossing = count_of(size.depth, "block"), count_of(decoder_depth, "block")
    words = f"width {size.width}, {count_of(size.heads, 'head')}, {common['dtype']}"
    heads_said = describe_heads(heads)
    net = picture_net(
        spec,
        patch=patch,
        width=size.width,
        encoder=encoder,
        predictor=predictor,
        says=(
            ("encoder", f"{blocks}, {words}, rotary positions, {registers} registers"),
            ("decoder", f"{crossing} of cross-attention, {words}, heads: {heads_said}"),
        ),
    )
    return with_init(net, ((r"decoder/head_\w+/kernel$", draw_normal),))
