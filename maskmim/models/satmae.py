"""SatMAE: groups of the bands of one picture as streams, with one encoder and one decoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from maskmim.config.ranges import Depth, FractionBelowOne, Positive, PositiveInt, Size2D
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import Norm, xavier
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.posembed import sincos
from maskmim.models.layers.stream_embeddings import AmountEmbedding
from maskmim.models.mae_decoder import fill_grid
from maskmim.models.multimae import stream_patch, token_values
from maskmim.models.net import token_grid
from maskmim.models.one_stream import token_slice
from maskmim.models.streams import Grid, StreamsEncoder, streams_net
from maskmim.models.vit import Stack, make_blocks
from maskmim.types import Array, Encoded, Mask, Net, Spec


class GroupsDecoder(Stack):
    """MAE's decoder over the tokens of all groups, and a dense layer for each group.

    grids:      of the groups, in the order of the tokens. values: of a token of each group.
    code_width: the last values of a position, which say the group; see `positions`.
    Source: forward_decoder of models_mae_group_channels.py, sustainlab-group/SatMAE.
    """

    grids: Mapping[str, Grid]
    values: Mapping[str, int]
    code_width: int

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {group: f32[B, N_g, values]} on all tokens of each group."""
        width = self.size.width
        prefix, tokens = fill_grid(self, encoded, mask)
        tables = positions(width, self.grids, code_width=self.code_width)
        codes = sincos(self.code_width, (len(self.grids) + 1,))
        of_class = np.concatenate([np.zeros(width - self.code_width, np.float32), codes[-1]])
        table = jnp.asarray(np.concatenate(list(tables.values())), self.dtype)
        x = constraints.concat_tokens(
            prefix + jnp.asarray(of_class, self.dtype)[None, None], tokens + table[None]
        )
        x, _ = make_blocks(self)(x)
        _, x = constraints.split_tokens(x, prefix.shape[1])
        x = Norm(self.epsilon, self.dtype, name="norm")(x)
        return {name: self._head(name)(x[:, token_slice(self.grids, name)]) for name in self.grids}

    def _head(self, name: str) -> Callable[[Array], Array]:
        values = self.values[name]
        head = Dense(values, kernel_init=xavier, dtype=self.dtype, name=f"head_{name}")
        return lambda x: constraints.constrain_outputs(head(x)).astype(jnp.float32)


def positions(width: int, grids: Mapping[str, Grid], *, code_width: int) -> dict[str, np.ndarray]:
    """Return the position tables of the groups: places first, then the code of the group.

    Each is f32[N_g, width]; the last `code_width` values are the sines and cosines of the group's
    number, the same for all its tokens.
    Raises ModelError where one of the two parts is not even enough, see `posembed.sincos`.
    """
    if not 0 < code_width < width:
        raise ModelError(
            f"code_width={code_width} leaves no width of {width} for places: choose a smaller one"
        )
    codes = sincos(code_width, (len(grids),))
    tables = {}
    for code, (name, grid) in zip(codes, grids.items(), strict=True):
        places = sincos(width - code_width, grid)
        tables[name] = np.concatenate([places, np.tile(code, (len(places), 1))], axis=1)
    return tables


def satmae(
    spec: Spec,
    *,
    variant: str = "L",
    patch: Size2D = (8, 8),
    code_width: PositiveInt = 256,
    decoder_depth: Depth = 8,
    decoder_width: PositiveInt = 512,
    decoder_heads: PositiveInt = 16,
    decoder_code_width: PositiveInt = 128,
    norm_eps: Positive = 1e-6,
    drop_path: FractionBelowOne = 0.0,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build SatMAE for groups of bands: streams of one picture, each of some of its bands.

    variant: of the encoder, see `models.vit.variant`; each group has a patch embedding of its own.
    patch:   of every group.
    code_width, decoder_code_width: see `positions`; the rest of a width are places.
    Heads have the names of the groups, f32[B, N_g, V] on all tokens of the group, V the values of
    its patch. Others as in `masked_vit.vit_mae`. params: {'encoder': ..., 'decoder': ...}.
    Raises ModelError for sizes that do not divide and code widths that leave no place.
    Source: MaskedAutoencoderGroupChannelViT of models_mae_group_channels.py (arXiv 2207.08051).
    Differences: a token's values stand in the order row, column, band, there band, row, column;
    biases of the patch embeddings start at 0, there as torch's convolutions do.
    """
    how, streams = compute(), spec.arrays
    patches = {name: stream_patch(spec, each, patch) for name, each in streams.items()}
    grids = {name: token_grid(each.size, patches[name]) for name, each in streams.items()}
    size = vit.variant(variant)
    embedding = partial(AmountEmbedding, size.width, how.dtype)
    stack = vit.stack_fields((sum(map(math.prod, grids.values())),), norm_eps, how)
    encoder = StreamsEncoder(
        size=size,
        grids=grids,
        embed=dict.fromkeys(streams, embedding),
        positions=partial(positions, code_width=code_width),
        global_tokens=1,
        drop_path=drop_path,
        **stack,
    )
    values = {name: token_values(streams[name], patches[name]) for name in streams}
    decoder = GroupsDecoder(
        size=vit.decoder_size(decoder_depth, decoder_width, decoder_heads),
        grids=grids,
        values=values,
        code_width=decoder_code_width,
        **stack,
    )
    return streams_net(
        spec,
        patches=patches,
        width=size.width,
        encoder=encoder,
        predictor=decoder,
        says=describe(encoder, decoder, streams),
    )


def describe(
    encoder: StreamsEncoder, decoder: GroupsDecoder, streams: Mapping[str, Spec]
) -> tuple[tuple[str, str], ...]:
    """Return `Net.says`."""
    groups = ", ".join(f"{name} ({each.channels})" for name, each in streams.items())
    words = f"{vit.describe_blocks(encoder)}, class token, groups of bands: {groups}"
    values = ", ".join(f"{name} {count}" for name, count in decoder.values.items())
    return ("encoder", words), ("decoder", f"{vit.describe_blocks(decoder)}, values: {values}")
