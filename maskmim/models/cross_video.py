"""A masked autoencoder of clips beside one of pictures: two networks for the streams of a video.

Nothing passes from one stream to another; objectives compare what the encoders make of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from maskmim.config import kinds
from maskmim.config.ranges import Fraction, OpenFraction
from maskmim.config.returned import returned
from maskmim.masks.core import positions
from maskmim.masks.modalities import stream_counts
from maskmim.models.layers import constraints
from maskmim.models.layers.errors import ModelError
from maskmim.models.mae_decoder import scatter_tokens
from maskmim.models.net import array_of
from maskmim.models.one_stream import token_slice
from maskmim.models.streams import Grid, Streams, conversion
from maskmim.types import Array, Batch, Encoded, Mask, Net, Randomness, Spec, Tree

IMAGE = "image"  # The part of the params that is the image branch's.
PREFIX = "prefix of "  # Begins the names of prefixes in `Encoded.given`.
Build = Annotated[Callable[[Spec], Net], kinds.MODEL]


class Branches(NamedTuple):
    """Two networks and how the tokens of all streams lie.

    nets:  of each stream, in the order of the tokens; equal streams have one network.
    specs: of each stream. shown: how many of its tokens a mask shows.
    """

    nets: Mapping[str, Net]
    specs: Mapping[str, Spec]
    shown: Mapping[str, int]

    @property
    def grids(self) -> dict[str, Grid]:
        """The token grid of each stream."""
        return {name: next(iter(net.grids.values())) for name, net in self.nets.items()}

    def members(self, streams: Iterable[str]) -> dict[str, list[str]]:
        """Return which of some streams each network encodes, by the network's name."""
        parts: dict[str, list[str]] = {}
        for name in streams:
            part = IMAGE if is_picture(self.specs[name]) else "video"
            parts.setdefault(part, []).append(name)
        return parts

    def params(self, params: Tree, stream: str) -> Tree:
        """Return the parameters of the network of a stream."""
        own = params[IMAGE] if is_picture(self.specs[stream]) else params
        return {part: own[part] for part in ("encoder", "decoder")}


def cross_video(
    spec: Spec,
    *,
    video: Build,
    image: Build,
    ratio: OpenFraction = 0.95,
    ratios: Mapping[str, Fraction] | None = None,
) -> Net:
    """Build a network of clips and one of pictures, each of which encodes its streams apart.

    video, image: bricks, spec -> Net, of the streams with three axes and of those with two, such as
                  `mae_st.vit_mae_st` and `masked_vit.vit_mae`; one head each, equal widths.
    ratio, ratios: of the sampler, `masks.modalities.independent`: how many tokens of each stream
                  enter must be known before a mask is drawn.
    The main stream is a clip; clips share one network, pictures another. Heads have the names of
    the streams, f32[B, N_s, V] on all tokens of the stream, 0 where they are visible. `Encoded`
    holds the prefixes of all streams, then their tokens, in the order of `Spec.arrays`. Layers,
    attention and the like are captured of one stream alone, see `config.evals.streams`.
    params: those of the clips' network, and below 'image' those of the pictures': so a run of the
    video network alone can be begun from, and be fine-tuned, under the same names.
    With a mask that shows other numbers of tokens of a stream in an example, though as many in all,
    what the encoder makes of that example is nan.
    Raises ModelError for a main stream that is no clip, no stream of pictures, unequal sizes or
    ratios of the clips or of the pictures, networks of other widths, several heads or batch norms,
    and in `encode` for a mask of other counts or one where streams are missing; MaskError as the
    sampler.
    Source: CrossVideoMAE (arXiv 2502.07811), for which no code is released.
    """
    branches = build_branches(spec, video, image, ratio, ratios)
    conversions = {name: conversion(each, trimmed=False) for name, each in branches.specs.items()}
    nets = branches.nets

    def inputs(batch: Batch) -> dict[str, Array]:
        given = [name for name in nets if name in batch] or [spec.stream]
        return {name: conversions[name].inputs(array_of(batch, name)) for name in given}

    def init(key: Array) -> Tree:
        first, second = jax.random.split(key)
        pictures = branches.members(nets)[IMAGE][0]
        return {**nets[spec.stream].init(first), IMAGE: nets[pictures].init(second)}

    def restore(patches: Streams) -> dict[str, Array]:
        return {name: nets[name].restore(each) for name, each in patches.items()}

    return Net(
        grids=branches.grids,
        width=nets[spec.stream].width,
        init=init,
        inputs=inputs,
        encode=_make_encode(branches),
        predict=_make_predict(branches),
        patchify=lambda inputs: {name: nets[name].patchify(x) for name, x in inputs.items()},
        restore=restore,
        display=lambda inputs: {name: conversions[name].display(x) for name, x in inputs.items()},
        says=_describe(branches),
    )


def build_branches(
    spec: Spec, video: Build, image: Build, ratio: float, ratios: Mapping[str, float] | None
) -> Branches:
    """Return the networks of the streams; raises as `cross_video` does."""
    specs = spec.arrays
    pictures = {name: each for name, each in specs.items() if is_picture(each)}
    clips = {name: each for name, each in specs.items() if name not in pictures}
    if spec.stream in pictures or not pictures:
        raise ModelError(
            f"the streams {', '.join(specs)} are to be a clip, the main one, and at least one "
            "picture: give input.size three numbers, and one of input.streams two"
        )
    nets = {}
    for key, build, members in (("video", video, clips), (IMAGE, image, pictures)):
        if len({each.shape for each in members.values()}) > 1:
            raise ModelError(
                f"the streams {', '.join(members)} share model.{key}, but differ in their sizes: "
                "give them equal ones"
            )
        first = next(iter(members.values()))
        net = returned(build(first._replace(streams={})), Net, f"model.{key}.brick", build)
        nets |= dict.fromkeys(members, net)
    widths = {name: net.width for name, net in nets.items()}
    if len(set(widths.values())) > 1:
        raise ModelError(f"the encoders' widths are {widths}: give model.video and .image the same")
    if any(net.norms for net in nets.values()):
        raise ModelError(
            "a network with batch norms keeps averages, which branches do not: use one without"
        )
    nets = {name: nets[name] for name in specs}
    grids = Branches(nets, specs, {}).grids
    counts = stream_counts(grids, ratio=ratio, ratios=ratios)
    branches = Branches(nets, specs, {name: visible for name, (visible, _) in counts.items()})
    for part, names in branches.members(nets).items():
        if len({counts[name] for name in names}) > 1:
            raise ModelError(
                f"the streams {', '.join(names)} pass through model.{part} as one batch, but their "
                "ratios differ: give them the same"
            )
    return branches


def is_picture(spec: Spec) -> bool:
    """Return whether a stream has rows and columns alone."""
    return len(spec.size) == 2


def split_mask(branches: Branches, mask: Mask) -> tuple[dict[str, Mask], Array]:
    """Return the mask of each stream, in its own numbers, and whether it fits bool[B].

    Hidden tokens are predicted, with weight 1. Raises ModelError for another number of visible
    tokens.
    """
    shown = branches.shown
    if mask.visible.shape[1] != sum(shown.values()):
        each = " and ".join(f"{count} of {name}" for name, count in shown.items())
        raise ModelError(
            f"the mask shows {mask.visible.shape[1]} tokens, but model.ratio and model.ratios show "
            f"{each}: give mask and model the same ratio and ratios, and "
            "maskmim.masks.modalities.independent as the sampler"
        )
    parts = split_tokens(mask.visible, shown.values())
    masks, fits = {}, jnp.ones(len(mask.visible), bool)
    for (name, grid), places in zip(branches.grids.items(), parts, strict=True):
        here = token_slice(branches.grids, name)
        own = jnp.clip(places - here.start, 0, math.prod(grid) - 1)
        fits &= jnp.all(own == places - here.start, axis=1)
        hidden = mask.hidden[:, here]
        predict = positions(hidden, math.prod(grid) - shown[name])
        masks[name] = Mask(own, predict, hidden, jnp.ones(predict.shape, jnp.float32))
    return masks, fits


def split_tokens(tokens: Array, lengths: Iterable[int]) -> list[Array]:
    """Return the parts of an array [B, K, ...] that are so long."""
    return jnp.split(tokens, list(itertools.accumulate(lengths))[:-1], axis=1)


def _make_encode(branches: Branches) -> Callable[..., Encoded]:
    """Return `Net.encode`, which encodes the streams of each network as one batch."""

    def encode(
        params: Tree,
        inputs: Streams,
        mask: Mask | None,
        *,
        capture: tuple[str, ...] = (),
        randomness: Randomness | None = None,
    ) -> Encoded:
        streams = [name for name in branches.nets if name in inputs]
        if mask is not None and len(streams) < len(branches.nets):
            raise ModelError(
                f"a mask hides tokens of {', '.join(branches.nets)}, but the inputs have "
                f"{', '.join(streams)} alone: give every stream, or no mask"
            )
        if capture and len(streams) > 1:
            raise ModelError(
                f"{', '.join(capture)} of {', '.join(streams)}: capture what blocks make of one "
                "stream, by config.evals.streams"
            )
        masks, fits = (None, None) if mask is None else split_mask(branches, mask)
        found: dict[str, Encoded] = {}
        for part, names in branches.members(streams).items():
            own = None if masks is None else stack([masks[name] for name in names])
            options = {"capture": capture, "randomness": apart(randomness, part, len(names))}
            weights, net = branches.params(params, names[0]), branches.nets[names[0]]
            joined = net.encode(weights, stack([inputs[name] for name in names]), own, **options)
            if len(streams) == 1:
                return joined
            pairs = zip(unstack(joined.prefix, names), unstack(joined.tokens, names), strict=True)
            found |= {name: Encoded(*pair) for name, pair in zip(names, pairs, strict=True)}
        tokens = constraints.concat_tokens(*(found[name].tokens for name in streams))
        prefix = constraints.concat_tokens(*(found[name].prefix for name in streams))
        if fits is not None:
            tokens, prefix = (jnp.where(fits[:, None, None], x, jnp.nan) for x in (tokens, prefix))
        given = {f"{PREFIX}{name}": each.prefix for name, each in found.items()}
        return Encoded(prefix, tokens, given=given)

    return encode


def _make_predict(branches: Branches) -> Callable[..., dict[str, Array]]:
    """Return `Net.predict`, which predicts the hidden tokens of a stream from that stream alone."""

    def predict(
        params: Tree, encoded: Encoded, mask: Mask, *, randomness: Randomness | None = None
    ) -> dict[str, Array]:
        masks, _ = split_mask(branches, mask)
        tokens = split_tokens(encoded.tokens, branches.shown.values())
        tokens = dict(zip(branches.nets, tokens, strict=True))
        outputs: dict[str, Array] = {}
        for part, names in branches.members(branches.nets).items():
            prefix = stack([encoded.given[f"{PREFIX}{name}"] for name in names])
            own = Encoded(prefix, stack([tokens[name] for name in names]))
            of_streams = stack([masks[name] for name in names])
            heads = branches.nets[names[0]].predict(
                branches.params(params, names[0]),
                own,
                of_streams,
                randomness=apart(randomness, part, len(names)),
            )
            if len(heads) > 1:
                raise ModelError(
                    f"the network of {', '.join(names)} has the heads {', '.join(heads)}, but a "
                    f"stream has one: set model.{part}.heads to a single one"
                )
            (head,) = heads.values()
            blank = jnp.zeros((1, 1, head.shape[-1]), head.dtype)
            length = of_streams.hidden.shape[1]
            every = scatter_tokens(blank, head, of_streams.predict, length)
            outputs |= dict(zip(names, unstack(every, names), strict=True))
        return outputs

    return predict


def stack(trees: Sequence[Tree]) -> Tree:
    """Return arrays [B * S, ...] of S trees of arrays [B, ...], an example's streams in a row."""

    def join(*arrays: Array) -> Array:
        both = jnp.stack(arrays, axis=1)
        return both.reshape(both.shape[0] * both.shape[1], *both.shape[2:])

    return jax.tree.map(join, *trees)


def unstack(array: Array, names: Sequence[str]) -> list[Array]:
    """Return the arrays [B, ...] of the streams of [B * S, ...], as `stack` joined them."""
    examples = array.shape[0] // len(names)
    each = array.reshape(examples, len(names), *array.shape[1:])
    return [each[:, number] for number in range(len(names))]


def apart(randomness: Randomness | None, part: str, streams: int) -> Randomness | None:
    """Return the randomness of one network, with a slot for each stream of an example."""
    if randomness is None:
        return None
    numbers = jnp.arange(streams, dtype=randomness.slots.dtype)
    slots = randomness.slots[:, None] * numbers.dtype.type(streams) + numbers[None]
    return randomness.inside(part)._replace(slots=slots.reshape(-1))


def _describe(branches: Branches) -> tuple[tuple[str, str], ...]:
    """Return `Net.says` of both networks."""
    parts = branches.members(branches.nets).items()
    return tuple(
        (f"{part} {what}", f"{words}, of {', '.join(names)}")
        for part, names in parts
        for what, words in branches.nets[names[0]].says
    )
