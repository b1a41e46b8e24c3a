"""MultiMAE: several streams of a scene through one encoder, and a decoder for each prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
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
from maskmim.models.layers.blocks import Mlp, Norm, ReadingAttention, xavier
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.init import small_normal, with_init
from maskmim.models.layers.posembed import sincos_rows_first
from maskmim.models.layers.stream_embeddings import AmountEmbedding, ClassEmbedding
from maskmim.models.mae_decoder import scatter_tokens
from maskmim.models.net import token_grid
from maskmim.models.one_stream import token_slice
from maskmim.models.streams import Grid, StreamsEncoder, check_streams, streams_net
from maskmim.models.vit import Size, Stack, make_blocks
from maskmim.types import Array, Encoded, Mask, Net, Spec


class MultiMaeEncoder(StreamsEncoder):
    """The encoder without a norm behind the last block, as the decoders read its output itself."""

    def _norm(self) -> Callable[[Array], Array]:
        return lambda x: x


class StreamDecoder(Stack):
    """A decoder that predicts all tokens of one stream from the visible tokens of all streams.

    grid:   of the stream. grids: of all streams, in the order of the tokens.
    stream: whose tokens it predicts. values: of each token.
    Both what it asks for and what it reads carry a learned embedding of their stream and fixed
    positions; a query is the encoded token where that is visible, else the mask token. The queries
    read what is visible once, without a residual branch around it; then come an MLP and the blocks,
    in which the stream's tokens see each other.
    Source: SpatialOutputAdapter of multimae/output_adapters.py (EPFL-VILAB/MultiMAE).
    """

    grids: Mapping[str, Grid]
    stream: str
    values: int

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> Array:
        """Predict f32[B, N_s, values]."""
        queries, context = self._queries_and_context(encoded, mask)
        norm = partial(Norm, self.epsilon, self.dtype)
        read = ReadingAttention(self.size.heads, self.dtype, self.attend, name="read")
        context = constraints.constrain_tokens(norm(name="norm_context")(context))
        queries = constraints.constrain_tokens(norm(name="norm_queries")(queries))
        x = constraints.constrain_tokens(read(queries, context, context))
        mlp = Mlp(self.size.hidden, self.dtype, name="mlp")
        x = constraints.constrain_tokens(x + mlp(norm(name="norm")(x)))
        x, _ = make_blocks(self)(x)
        head = Dense(self.values, kernel_init=xavier, dtype=self.dtype, name="head_values")
        return constraints.constrain_outputs(head(x)).astype(jnp.float32)

    def _queries_and_context(self, encoded: Encoded, mask: Mask) -> tuple[Array, Array]:
        """Return queries [B, N_s, W] and what they read, [B, K + R, W], the prefix last."""
        width = self.size.width
        embed = Dense(width, kernel_init=xavier, dtype=self.dtype, name="embed")
        seen = constraints.embed_tokens(embed, encoded.tokens.astype(self.dtype))
        prefix = embed(constraints.constrain_examples(encoded.prefix.astype(self.dtype)))
        token = self.param("mask_token", nn.initializers.zeros, (1, 1, width))
        table = self._table().astype(self.dtype)
        grid = scatter_tokens(token.astype(self.dtype), seen, mask.visible, len(table))
        here = token_slice(self.grids, self.stream)
        places = table.at[mask.visible].get(mode="promise_in_bounds")
        context = constraints.concat_tokens(seen + places, prefix)
        return grid[:, here] + table[None, here], context

    def _table(self) -> Array:
        """Return what each place of all streams has of its own, f32[N, W]: stream and position."""
        width = self.size.width
        parts = []
        for stream, grid in self.grids.items():
            learned = self.param(f"{stream}_token", small_normal, (1, width))
            parts.append(learned + jnp.asarray(sincos_rows_first(width, grid)))
        return jnp.concatenate(parts)


class StreamDecoders(nn.Module):
    """Independent decoders, one for each head; make: {head: (name=...) -> StreamDecoder}."""

    make: Mapping[str, Callable[..., StreamDecoder]]

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {head: f32[B, N_s, values]}, N_s the tokens of the head's stream."""
        return {head: make(name=head)(encoded, mask) for head, make in self.make.items()}


def multimae(
    spec: Spec,
    *,
    heads: Mapping[str, str],
    variant: str = "B",
    patch: Size2D = (16, 16),
    global_tokens: NonNegativeInt = 1,
    class_width: PositiveInt = 64,
    standardised: tuple[str, ...] = (),
    decoder_depth: Depth = 2,
    decoder_width: PositiveInt = 256,
    decoder_heads: PositiveInt = 8,
    float32_heads: tuple[str, ...] = (),
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build MultiMAE: one ViT over the visible tokens of all streams, a decoder for each head.

    heads:         {head: stream}: what is predicted, each by a decoder of its own, f32[B, N_s, V]
                   on all N_s tokens of the stream, V the values of its patch; of a stream with K
                   classes V * K logits, class last.
    variant:       of the encoder, see `models.vit.variant`.
    patch:         of the main stream; other streams have patches that make as many tokens along
                   each axis, such as 4 x 4 where they have a quarter of the resolution.
    global_tokens: learned tokens beside those of the streams.
    class_width:   values of the learned vector of a class.
    standardised:  streams that `layers.standardise` standardises by example, such as depth.
    float32_heads: heads whose decoders compute in float32 whatever the dtype.
    Others as in `masked_vit.vit_mae`. params: {'encoder': ..., 'decoder': {head: ...}}.
    Raises ModelError for sizes that do not divide and names that are unknown.
    Source: MultiMAE (arXiv 2204.01678), multimae.py, input_adapters.py and output_adapters.py.
    Differences: positions are those of each stream's own grid, where the official code resizes a
    table of 14 x 14; the global tokens come first (attention knows no order); biases of the patch
    embeddings start at 0, there as torch's convolutions do.
    """
    how, streams = compute(), spec.arrays
    check_heads(heads, float32_heads)
    check_streams(heads.values(), streams, "for a head")
    patches = {name: stream_patch(spec, each, patch) for name, each in streams.items()}
    grids = {name: token_grid(each.size, patches[name]) for name, each in streams.items()}
    size = vit.variant(variant)
    encoder = MultiMaeEncoder(
        size=size,
        grids=grids,
        embed={
            name: embedding(each, class_width, size.width, how) for name, each in streams.items()
        },
        positions=positions,
        global_tokens=global_tokens,
        drop_path=drop_path,
        **vit.stack_fields((sum(map(math.prod, grids.values())),), norm_eps, how),
    )
    values = {head: token_values(streams[name], patches[name]) for head, name in heads.items()}
    precise = how._replace(dtype=jnp.dtype(jnp.float32))
    decoder = vit.decoder_size(decoder_depth, decoder_width, decoder_heads)
    make = {
        head: partial(
            StreamDecoder,
            size=decoder,
            grids=grids,
            stream=stream,
            values=values[head],
            **vit.stack_fields(grids[stream], norm_eps, precise if head in float32_heads else how),
        )
        for head, stream in heads.items()
    }
    net = streams_net(
        spec,
        patches=patches,
        width=size.width,
        encoder=encoder,
        predictor=StreamDecoders(make),
        trimmed=standardised,
        says=describe(encoder, heads, values, decoder),
    )
    return with_init(net, [(r"attention/qkv/kernel$", draw_separately)])


def positions(width: int, grids: Mapping[str, Grid]) -> dict[str, np.ndarray]:
    """Return the position table of each stream, that of its own grid."""
    return {stream: sincos_rows_first(width, grid) for stream, grid in grids.items()}


def stream_patch(spec: Spec, stream: Spec, patch: tuple[int, int]) -> tuple[int, ...]:
    """Return the size of a token of a stream: as many tokens along each axis as the main stream.

    Raises ModelError where the stream's size does not divide into these.
    """
    grid = token_grid(spec.size, patch)
    fits = len(stream.size) == len(grid) and not any(
        length % count for length, count in zip(stream.size, grid, strict=True)
    )
    if not fits:
        size, tokens, main = ("x".join(map(str, n)) for n in (stream.size, grid, spec.size))
        raise ModelError(
            f"the stream {stream.stream} of {size} does not divide into {tokens} tokens, as "
            f"{spec.stream} of {main} does: choose a size of which each axis is a multiple of these"
        )
    return tuple(length // count for length, count in zip(stream.size, grid, strict=True))


def token_values(stream: Spec, patch: tuple[int, ...]) -> int:
    """Return how many values a head predicts for a token: its values, or logits of each."""
    return math.prod(patch) * stream.channels * max(1, stream.classes)


def embedding(stream: Spec, class_width: int, width: int, how: Compute) -> Callable[..., nn.Module]:
    """Return the constructor of the embedding of a stream: of classes, or of amounts."""
    if stream.classes:
        return partial(ClassEmbedding, stream.classes, class_width, width, how.dtype)
    return partial(AmountEmbedding, width, how.dtype)


def check_heads(heads: Mapping[str, str], named: Iterable[str]) -> None:
    """Raise ModelError where there are no heads, and unless all that are named are among them."""
    if not heads:
        raise ModelError("there are no heads: set model.heads.<head>=<stream> of what is predicted")
    if unknown := [name for name in named if name not in heads]:
        raise ModelError(
            f"float32_heads has {', '.join(unknown)}, which are no heads: use some of "
            f"{', '.join(heads)}"
        )


def draw_separately(key: Array, old: Array) -> Array:
    """Draw by Xavier's rule as three maps of their own: kernels [blocks, width, 3, heads, size]."""
    bound = math.sqrt(6 / (old.shape[1] + old.shape[3] * old.shape[4]))
    return jax.random.uniform(key, old.shape, old.dtype, -bound, bound)


def describe(
    encoder: StreamsEncoder, heads: Mapping[str, str], values: Mapping[str, int], decoder: Size
) -> tuple[tuple[str, str], ...]:
    """Return `Net.says`."""
    tokens = count_of(encoder.global_tokens, "global token")
    words = f"{vit.describe_blocks(encoder)}, {tokens}, one embedding for each of "
    words += ", ".join(encoder.grids)
    each = ", ".join(f"{head} of {heads[head]} {count}" for head, count in values.items())
    blocks = f"cross-attention and {count_of(decoder.depth, 'block')}, width {decoder.width}"
    return (
        ("encoder", words),
        ("decoder", f"{count_of(len(heads), 'decoder')} of {blocks}, values: {each}"),
    )
