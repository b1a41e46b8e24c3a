"""AV-MAE: streams with blocks of their own, then blocks over all of them, and MAE's decoder.

How many of the blocks are joint, and whether the others share their weights, makes the paper's four
encoders: early fusion (all joint), mid fusion (the last two), separate encoders (none), one shared
encoder (none, and the same weights for every stream).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from maskmim.config.ranges import Fraction, NonNegativeInt, OpenFraction, Positive, Sizes
from maskmim.masks.modalities import stream_counts
from maskmim.models import vit
from maskmim.models.layers import constraints
from maskmim.models.layers.blocks import xavier
from maskmim.models.layers.compute import Compute, compute
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.init import with_init
from maskmim.models.layers.stream_embeddings import AmountEmbedding
from maskmim.models.mae_decoder import scatter_tokens
from maskmim.models.meeting_streams import (
    MeetingEncoder,
    NormedBlocks,
    make_stack,
    positions,
    stream_numbers,
)
from maskmim.models.multimae import draw_separately, token_values
from maskmim.models.one_stream import token_slice
from maskmim.models.streams import Grid, stream_grids, streams_net
from maskmim.models.vit import Stack
from maskmim.types import Array, Encoded, Mask, Net, Spec

Kind = Literal["shared", "separate", "joint"]
lecun = nn.initializers.lecun_normal()


class AvMaeDecoder(Stack):
    """A narrow transformer over all tokens of every stream, and a dense layer for each stream.

    grids:  of the streams, in the order of the tokens. values: of a token of each stream.
    kind:   whose tokens the blocks see, and with which weights: 'shared' those of one stream, with
            the same weights for all; 'separate' with weights of its own; 'joint' those of all.
    Each stream has a layer 'embed', a mask token and positions of its own.
    Source: unshuffle_tokens and apply_decoder of vivit_multimodal.py, scenic/projects/av_mae.
    """

    grids: Mapping[str, Grid]
    values: Mapping[str, int]
    kind: Kind

    @nn.compact
    def __call__(self, encoded: Encoded, mask: Mask) -> dict[str, Array]:
        """Predict {stream: f32[B, N_s, values]} on all tokens of each stream."""
        x = self._fill(encoded, mask)
        if self.kind == "joint":
            x, _ = self._blocks("joint")(x)
            parts = {name: x[:, token_slice(self.grids, name)] for name in self.grids}
        else:
            names = {name: "own" if self.kind == "shared" else f"own_{name}" for name in self.grids}
            blocks = {name: self._blocks(name) for name in dict.fromkeys(names.values())}
            parts = {
                name: blocks[own](x[:, token_slice(self.grids, name)])[0]
                for name, own in names.items()
            }
        return {name: self._head(name)(part) for name, part in parts.items()}

    def _fill(self, encoded: Encoded, mask: Mask) -> Array:
        """Return the tokens of all streams [B, N, W] with positions, mask tokens where hidden."""
        width = self.size.width
        numbers = stream_numbers(self.grids)[mask.visible][..., None]
        tables = positions(width, self.grids)
        seen, filling = jnp.zeros((), self.dtype), []
        for number, name in enumerate(self.grids):
            embed = Dense(width, kernel_init=xavier, dtype=self.dtype, name=f"embed_{name}")
            projected = constraints.embed_tokens(embed, encoded.tokens)
            seen = jnp.where(numbers == number, projected, seen)
            token = self.param(f"{name}_mask_token", nn.initializers.zeros, (1, 1, width))
            filling.append(jnp.broadcast_to(token, (1, len(tables[name]), width)))
        blank = jnp.concatenate(filling, axis=1).astype(self.dtype)
        tokens = scatter_tokens(blank, seen, mask.visible, blank.shape[1])
        table = jnp.asarray(np.concatenate(list(tables.values())), self.dtype)
        return constraints.constrain_tokens(tokens + table[None])

    def _blocks(self, name: str) -> NormedBlocks:
        return make_stack(self, name, self.size.depth)

    def _head(self, name: str) -> Callable[[Array], Array]:
        none = nn.initializers.zeros
        head = Dense(self.values[name], kernel_init=none, dtype=self.dtype, name=f"head_{name}")
        return lambda x: constraints.constrain_outputs(head(x)).astype(jnp.float32)


def av_mae(
    spec: Spec,
    *,
    patches: Mapping[str, Sizes],
    variant: str = "L",
    joint: NonNegativeInt = 2,
    shared: bool = False,
    ratio: OpenFraction = 0.9,
    ratios: Mapping[str, Fraction] | None = None,
    decoder: str = "4x512x8",
    decoder_blocks: Kind = "shared",
    norm_eps: Positive = 1e-6,
    compute: Callable[[], Compute] = compute,
) -> Net:
    """Build AV-MAE: streams with encoders that meet early, late or never.

    patches: of each stream, such as (2, 16, 16) of a clip and (16, 16) of a spectrogram.
    variant: of the encoder, decoder: depth x width x heads, see `models.vit.variant`.
    joint:   how many of the encoder's blocks, the last ones, see all streams: 2 is mid fusion, its
             depth early fusion, 0 none.
    shared:  whether the other blocks are the same for every stream; see `MeetingEncoder`.
    ratio, ratios: of the sampler, `masks.modalities.independent`: how many tokens of each stream
             enter the encoder must be known before a mask is drawn. Not read in early fusion.
    decoder_blocks: see `AvMaeDecoder`.
    Others as in `masked_vit.vit_mae`. Heads have the names of the streams, f32[B, N_s, V] on all
    tokens of the stream. params: {'encoder': ..., 'decoder': ...}.
    Raises ModelError for sizes that do not divide, more joint blocks than there are, and in
    `encode` for a mask of other counts; MaskError as the sampler does.
    Source: AV-MAE (arXiv 2212.05922), vivit_multimodal.py of google-research/scenic, whose
    encoder_strategy is concat_and_encode (early), separate_encoders_and_concat (mid), same_encoder
    or separate_encoders, and decoder_strategy same_decoder, separate_decoders or concat_and_decode.
    Differences: biases of the MLPs start at 0, there at 1e-6 times normal numbers.
    """
    how, streams, size = compute(), spec.arrays, vit.variant(variant)
    if joint > size.depth:
        raise ModelError(
            f"joint={joint} blocks of an encoder of {size.depth}: choose at most as many"
        )
    grids = stream_grids(spec, patches)
    counts = {} if joint == size.depth else stream_counts(grids, ratio=ratio, ratios=ratios)
    stack = vit.stack_fields((sum(map(math.prod, grids.values())),), norm_eps, how)
    encoder = MeetingEncoder(
        size=size,
        grids=grids,
        embed=dict.fromkeys(streams, partial(AmountEmbedding, size.width, how.dtype)),
        positions=positions,
        global_tokens=0,
        joint=joint,
        shared=shared,
        shown=tuple(visible for visible, _ in counts.values()),
        **stack,
    )
    predictor = AvMaeDecoder(
        size=vit.variant(decoder),
        grids=grids,
        values={name: token_values(each, patches[name]) for name, each in streams.items()},
        kind=decoder_blocks,
        **stack,
    )
    net = streams_net(
        spec,
        patches=patches,
        width=size.width,
        encoder=encoder,
        predictor=predictor,
        says=describe(encoder, predictor),
    )
    rules = [(r"attention/qkv/kernel$", draw_separately), (r"/patches/kernel$", lecun_like)]
    return with_init(net, rules)


def lecun_like(key: Array, old: Array) -> Array:
    """Draw as Flax's convolutions do by default."""
    return lecun(key, old.shape, old.dtype)


def describe(encoder: MeetingEncoder, decoder: AvMaeDecoder) -> tuple[tuple[str, str], ...]:
    """Return `Net.says`."""
    own = encoder.size.depth - encoder.joint
    whose = "the same" if encoder.shared else "of its own"
    words = [vit.describe_blocks(encoder)]
    words += [f"{own} {whose} for each of {', '.join(encoder.grids)}"] if own else []
    words += [f"{encoder.joint} over all streams"] if encoder.joint else []
    values = ", ".join(f"{name} {count}" for name, count in decoder.values.items())
    blocks = f"{vit.describe_blocks(decoder)}, {decoder.kind}, values: {values}"
    return ("encoder", "; ".join(words)), ("decoder", blocks)
