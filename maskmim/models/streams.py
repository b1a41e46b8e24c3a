"""Several streams of an example through one encoder, as a `Net` of mappings by stream.

Tokens of all streams stand in one row, stream after stream in the order of `Spec.arrays`; masks
count them in this order. An array of a stream is `mapping[stream]` everywhere: in `Net.inputs`,
`patchify`, `restore` and `display`, each of which also takes some of the streams only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from maskmim.config.ranges import PositiveInt, Sizes
from maskmim.models.layers import constraints
from maskmim.models.layers.drop_path import drop_path_factors
from maskmim.models.layers.encoder import UniformEncoder
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.init import small_normal
from maskmim.models.layers.patches import patchify, unpatchify
from maskmim.models.layers.standardise import standardise_trimmed
from maskmim.models.net import SPREAD, array_of, input_conversions, token_grid
from maskmim.models.vit import Stack, make_blocks
from maskmim.types import Array, Batch, Encoded, Mask, Net, Randomness, Spec, Tree

Grid = tuple[int, ...]
Streams = Mapping[str, Array]
Positions = Callable[[int, Mapping[str, Grid]], Mapping[str, np.ndarray]]


class StreamsEncoder(UniformEncoder, Stack):
    """A ViT over the visible tokens of all streams, each embedded by a module of its own.

    grid:      (N,), the tokens of all streams in one row.
    grids:     of each stream, in the order of the tokens.
    embed:     for each stream (name=...) -> module, which maps [B, N_s, V] to [B, N_s, D].
    positions: (width, grids) -> {stream: f32[N_s, width]}, the fixed tables.
    global_tokens: learned tokens that stand for nothing of the example; the prefix.
    drop_path: rate of the last block, see `drop_path.drop_path_factors`.
    There is no mask embedding: a token that is both hidden and visible shows its content.
    """

    grids: Mapping[str, Grid]
    embed: Mapping[str, Callable[..., nn.Module]]
    positions: Positions
    global_tokens: int
    drop_path: float = 0.0

    def _embed(
        self, patches: Streams, visible: Array | None, hidden: Array | None
    ) -> tuple[Array, Array]:
        """Return the global tokens and those that enter; without `visible`, of streams given."""
        width = self.size.width
        parts, tables = [], self.positions(width, self.grids)
        for stream in (name for name in self.grids if name in patches):
            tokens = self.embed[stream](name=f"embed_{stream}")(patches[stream])
            parts.append(tokens + jnp.asarray(tables[stream], self.dtype)[None])
        tokens = constraints.concat_tokens(*parts)
        if visible is not None:
            tokens = constraints.constrain_channels(constraints.select_tokens(tokens, visible))
        return self._prefix(len(tokens)).astype(self.dtype), tokens

    def _prefix(self, examples: int) -> Array:
        shape = (1, self.global_tokens, self.size.width)
        if not self.global_tokens:
            return jnp.zeros((examples, *shape[1:]), jnp.float32)
        prefix = self.param("global_token", small_normal, shape)
        return jnp.broadcast_to(prefix, (examples, *shape[1:]))

    def _run_blocks(
        self,
        x: Array,
        visible: Array | None,
        capture: tuple[str, ...],
        randomness: Randomness | None,
    ) -> tuple[Array, Mapping[str, Array]]:
        keep = drop_path_factors(randomness, depth=self.size.depth, rate=self.drop_path)
        return make_blocks(self)(x, capture, keep)


class Conversion(NamedTuple):
    """How a stream's array of the batch becomes inputs, and inputs a picture.

    inputs:  array of the batch -> f32 normalised, or i32 indices of classes.
    display: inputs -> u8 of the same shape; of indices the index itself, modulo 256.
    """

    inputs: Callable[[Array], Array]
    display: Callable[[Array], Array]


def conversion(spec: Spec, *, trimmed: bool) -> Conversion:
    """Return how the arrays of one stream are normalised and shown.

    trimmed: whether each example is standardised by itself besides, see `standardise_trimmed`; it
    is then shown in these units.
    Raises ModelError where a stream of classes is to be standardised.
    """
    if spec.classes:
        if trimmed:
            raise ModelError(
                f"the stream {spec.stream} has indices of classes, which cannot be standardised: "
                "name streams of amounts"
            )
        return Conversion(
            lambda values: _checked(spec, values).astype(jnp.int32),
            lambda inputs: (inputs % 256).astype(jnp.uint8),
        )
    normalise, display = input_conversions(spec)

    def inputs(values: Array) -> Array:
        amounts = normalise({spec.stream: values})
        return standardise_trimmed(amounts) if trimmed else amounts

    def display_standardised(inputs: Array) -> Array:
        shown = jnp.round((inputs / SPREAD + 0.5) * 255)
        return jnp.clip(shown, 0, 255).astype(jnp.uint8)

    return Conversion(inputs, display_standardised if trimmed else display)


def _checked(spec: Spec, values: Array) -> Array:
    """Return an array of the batch; raise ModelError where it has not the stream's shape."""
    if values.shape[1:] != spec.shape:
        raise ModelError(
            f"{spec.stream} inputs of shape {values.shape[1:]} meet a model for {spec.shape}"
        )
    return values


def streams_net(
    spec: Spec,
    *,
    patches: Mapping[str, Sizes],
    width: PositiveInt,
    encoder: StreamsEncoder,
    predictor: nn.Module,
    trimmed: tuple[str, ...] = (),
    says: tuple[tuple[str, str], ...] = (),
) -> Net:
    """Build the network whose params are {'encoder': ..., 'decoder': ...}.

    patches:   for each stream of `spec.arrays`, the size of a token.
    width:     of the encoder's tokens.
    predictor: module (Encoded, Mask) -> {head: f32[B, N_s, values]}: a head answers on all tokens
               of its stream, as the number of hidden ones differs among examples; see
               `objectives.in_stream`.
    trimmed:   streams that `standardise_trimmed` standardises.
    says:      lines for people, see `Net.says`.
    `Net.inputs` leaves out streams that the batch lacks; without a mask those present are encoded.
    With one stream its functions take and return arrays without a mapping, as other networks do.
    Raises ModelError where patches do not fill a stream and for an unknown stream in `trimmed`; in
    `inputs` for a batch without any stream and arrays of another shape; in `encode` for a mask
    where streams are missing.
    """
    specs, grids = spec.arrays, stream_grids(spec, patches)
    check_streams(trimmed, grids, "to standardise")
    conversions = {name: conversion(each, trimmed=name in trimmed) for name, each in specs.items()}

    def inputs(batch: Batch) -> dict[str, Array]:
        found = {name: batch[name] for name in specs if name in batch}
        if not found:
            raise ModelError(
                f"the model is for the streams {', '.join(specs)}, but the batch has "
                f"{', '.join(sorted(batch)) or 'nothing'}: set data.augment (in evaluations "
                "evals.transform) to a brick that makes them"
            )
        return {name: conversions[name].inputs(array) for name, array in found.items()}

    def cut(inputs: Streams) -> dict[str, Array]:
        return {name: patchify(array, patches[name]) for name, array in inputs.items()}

    def restore(cut: Streams) -> dict[str, Array]:
        return {name: unpatchify(each, patches[name], grids[name]) for name, each in cut.items()}

    def display(inputs: Streams) -> dict[str, Array]:
        return {name: conversions[name].display(array) for name, array in inputs.items()}

    def init(key: Array) -> Tree:
        blank = {name: jnp.zeros((1, *each.shape), each.dtype) for name, each in specs.items()}
        return _init(encoder, predictor, cut(inputs(blank)), grids, key)

    net = Net(
        grids=grids,
        width=width,
        init=init,
        inputs=inputs,
        encode=_make_encode(encoder, cut, grids),
        predict=_make_predict(predictor),
        patchify=cut,
        restore=restore,
        display=display,
        says=says,
    )
    return net if len(grids) > 1 else _narrow(net, spec.stream)


def stream_net(net: Net, stream: str) -> Net:
    """Return the network of one stream alone, whose inputs are the stream's array.

    grids has this stream only; inputs, patchify, restore and display take and return its arrays
    without a mapping; encode encodes it alone. predict is that of the whole network, with its mask.
    Raises ModelError for an unknown stream. A network of one stream is returned as it is.
    """
    check_streams([stream], net.grids, "in this network")
    return net if len(net.grids) == 1 else _narrow(net, stream)


def _narrow(net: Net, stream: str) -> Net:
    """Return a network of mappings as one of the arrays of one stream."""

    def alone(function: Callable[[Mapping[str, Array]], Mapping[str, Array]]) -> Callable:
        return lambda array: function({stream: array})[stream]

    def inputs(batch: Batch) -> Array:
        return net.inputs({stream: array_of(batch, stream)})[stream]

    def encode(params: Tree, inputs: Array, *arguments: object, **options: object) -> Encoded:
        return net.encode(params, {stream: inputs}, *arguments, **options)

    return net._replace(
        grids={stream: net.grids[stream]},
        inputs=inputs,
        encode=encode,
        patchify=alone(net.patchify),
        restore=net.restore and alone(net.restore),
        display=net.display and alone(net.display),
    )


def stream_grids(spec: Spec, patches: Mapping[str, Grid]) -> dict[str, Grid]:
    """Return the token grid of each stream; raise ModelError where patches do not fill it."""
    return {name: token_grid(each.size, patches[name]) for name, each in spec.arrays.items()}


def check_streams(names: Iterable[str], known: Iterable[str], purpose: str) -> None:
    """Raise ModelError, naming what they are for, unless all names are those of streams."""
    known = list(known)
    if unknown := [name for name in names if name not in known]:
        raise ModelError(
            f"no stream {', '.join(map(repr, unknown))} {purpose}: an example has "
            f"{', '.join(known)}; add it to input.streams, or name one of these"
        )


def _init(
    encoder: StreamsEncoder,
    predictor: nn.Module,
    patches: Streams,
    grids: Mapping[str, Grid],
    key: Array,
) -> Tree:
    """Return the parameters that a blank example initialises."""
    first, second = jax.random.split(key)
    length = sum(map(math.prod, grids.values()))
    token = jnp.zeros((1, 1), jnp.int32)
    mask = Mask(token, token, jnp.zeros((1, length), bool), jnp.ones((1, 1)))
    encoded, variables = encoder.init_with_output(first, patches, token, mask.hidden)
    decoder = predictor.init(second, encoded, mask)
    return {"encoder": variables["params"], "decoder": decoder["params"]}


def _make_encode(
    encoder: StreamsEncoder, cut: Callable[[Streams], Streams], grids: Mapping[str, Grid]
) -> Callable[..., Encoded]:
    """Return `Net.encode` of an encoder of several streams."""

    def encode(
        params: Tree,
        inputs: Streams,
        mask: Mask | None,
        *,
        capture: tuple[str, ...] = (),
        randomness: Randomness | None = None,
    ) -> Encoded:
        missing = [name for name in grids if name not in inputs]
        if mask is not None and missing:
            raise ModelError(
                f"a mask hides tokens of {', '.join(grids)}, but the inputs lack "
                f"{', '.join(missing)}: give every stream, or no mask"
            )
        mask = jax.tree.map(constraints.constrain_examples, mask)
        visible, hidden = (None, None) if mask is None else (mask.visible, mask.hidden)
        patches = jax.tree.map(constraints.constrain_examples, cut(inputs))
        variables = {"params": params["encoder"]}
        return encoder.apply(variables, patches, visible, hidden, capture, randomness)

    return encode


def _make_predict(predictor: nn.Module) -> Callable[..., dict[str, Array]]:
    """Return `Net.predict` of a predictor that drops nothing."""

    def predict(
        params: Tree, encoded: Encoded, mask: Mask, *, randomness: Randomness | None = None
    ) -> dict[str, Array]:
        mask = jax.tree.map(constraints.constrain_examples, mask)
        return predictor.apply({"params": params["decoder"]}, encoded, mask)

    return predict
