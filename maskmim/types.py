"""The types that every part of maskmim speaks; their shapes are the documentation.

Letters in shapes: B examples, N tokens of an example, K visible tokens, P predicted tokens, D
width, R prefix tokens (class token and registers). K, P, N and R are Python ints known when the
step is built.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp

Array = jax.Array
Tree = Any
Batch = Mapping[str, Array]


def random_key(seed: int) -> Array:
    """Return the typed PRNG key of a seed, of one generator in every environment.

    Under `jax.vmap`, which draws a mask for each example, jax's faster 'rbg' draws all from the
    first key, so that masks would depend on micro-batches.
    """
    # A negative seed has another key where jax computes in 64 bits.
    with jax.enable_x64(False):
        return jax.random.key(seed, impl="threefry2x32")


class Randomness(NamedTuple):
    """The random numbers of one step, addressed by name and by slot in the global batch.

    What is drawn depends on (key, name, slot) alone, never on devices, hosts or micro-batches.

    key:   typed PRNG key of the step.
    slots: u32[B] the examples' places in the global batch.
    """

    key: Array
    slots: Array

    @classmethod
    def of(cls, key: Array, batch: int) -> Randomness:
        """Randomness for a whole batch of `batch` examples."""
        return cls(key, jnp.arange(batch, dtype=jnp.uint32))

    def shared(self, name: str) -> Array:
        """One key for the whole global batch, from the stream called `name`."""
        return jax.random.fold_in(self.key, zlib.crc32(name.encode()))

    def each(self, name: str) -> Array:
        """Keys [B], one per example, from the stream called `name`."""
        return jax.vmap(jax.random.fold_in, (None, 0))(self.shared(name), self.slots)

    def inside(self, name: str) -> Randomness:
        """Randomness of its own for a part called `name`, independent of the other parts'."""
        return self._replace(key=self.shared(name))


class Mask(NamedTuple):
    """What an encoder sees, what is withheld and what is predicted: three different things.

    visible: i32[B, K] tokens that enter the encoder, ascending.
    predict: i32[B, P] tokens that objectives are taken on, ascending.
    hidden:  bool[B, N] tokens whose content is withheld; one that is visible too carries the
             mask embedding.
    weight:  f32[B, P] the objectives' weight of each predicted token.
    """

    visible: Array
    predict: Array
    hidden: Array
    weight: Array


@dataclass(frozen=True)
class Context:
    """What a sampler, teacher or target may know about the batch.

    batch:    the arrays of the batch, examples first.
    grids:    the token grid of each stream, static, in the order of the tokens; an image has one
              stream with (rows, columns), a clip (frames, rows, columns), a spectrogram (time,
              mel).
    hints:    what teachers found, by name.
    progress: f32[] share of training that is done, in [0, 1).
    classes:  of hints that are indices of classes, how many classes there are; static.
    """

    batch: Batch
    grids: Mapping[str, tuple[int, ...]]
    hints: Mapping[str, Array]
    progress: Array | float = 0.0
    classes: Mapping[str, int] = field(default_factory=dict)

    @property
    def grid(self) -> tuple[int, ...]:
        """The grid of the only stream; ValueError where there are several."""
        if len(self.grids) != 1:
            raise ValueError(
                f"one stream expected, got {sorted(self.grids)}: name the one you mean"
            )
        return next(iter(self.grids.values()))

    @property
    def length(self) -> int:
        """N, the number of tokens of an example over all streams."""
        return sum(math.prod(grid) for grid in self.grids.values())


class Encoded(NamedTuple):
    """What an encoder returns.

    prefix:    f32[B, R, D] class token (first, where there is one) and registers.
    tokens:    f32[B, K, D] the visible tokens, in the order of `Mask.visible`.
    layers:    f32[depth, B, R + K, D] the output of every block, before the last norm; None
               unless captured.
    attention: f32[depth, B, heads, R + K] attention of the first prefix token; None unless
               captured.
    embedded:  f32[B, R + K, D] what enters the first block; None unless captured.
    """

    prefix: Array
    tokens: Array
    layers: Array | None = None
    attention: Array | None = None
    embedded: Array | None = None


class Net(NamedTuple):
    """A network as pure functions over plain nested dicts of arrays; `models/` makes them.

    grids:     token grids by stream, see `Context.grids`.
    width:     D of the encoder.
    init:      key -> params.
    inputs:    batch -> f32[B, ...] the normalised input that tokens and pixel targets are made of.
    encode:    (params, inputs, mask or None, *, capture=(), randomness=None) -> Encoded. Hidden
               tokens that are visible are filled with the mask embedding, then visible ones are
               gathered; with mask None every token enters. capture: any of 'layers', 'attention',
               'embedded'. randomness: of dropped paths; without it nothing is dropped.
    predict:   (params, Encoded, mask, *, randomness=None) -> {head: f32[B, P, width of the head]};
               randomness as for encode, where the predictor drops paths.
    patchify:  f32[B, ...] inputs -> f32[B, N, patch values], row, column, channel order.
    restore:   the inverse of patchify.
    display:   f32[B, ...] inputs -> u8 of the same shape to be looked at, the inverse of the
               normalisation.
    says:      short lines for people: ('encoder', ...), ('decoder', ...).
    """

    grids: Mapping[str, tuple[int, ...]]
    width: int
    init: Callable[[Array], Tree]
    inputs: Callable[[Batch], Array]
    encode: Callable[..., Encoded]
    predict: Callable[..., dict[str, Array]]
    patchify: Callable[[Array], Array]
    restore: Callable[[Array], Array]
    display: Callable[[Array], Array]
    says: tuple[tuple[str, str], ...] = ()


class Variables(NamedTuple):
    """The three kinds of arrays of a method.

    params: optimised.
    extra:  changes without gradients (averaged weights, centres, queues, counts).
    frozen: given and fixed (a loaded teacher, a noise bank); never saved, attached again.
    """

    params: Tree
    extra: Tree
    frozen: Tree


class State(NamedTuple):
    """All that training changes, and all that a checkpoint holds of it.

    step:      i32[] updates tried so far, skipped ones included.
    params, extra: see Variables; opt_state: the optimiser's.
    bad_steps: i32[] updates skipped in a row, up to now, because something was not finite.
    """

    step: Array
    params: Tree
    extra: Tree
    opt_state: Tree
    bad_steps: Array


class View(NamedTuple):
    """What a target or an objective sees of one batch.

    encoded is None for a method without an encoder pass; outputs are the heads' predictions.
    """

    net: Net
    context: Context
    inputs: Array
    mask: Mask
    encoded: Encoded
    outputs: Mapping[str, Array]
    extra: Tree


class Mean(NamedTuple):
    """A weighted mean kept as its two sums, so that splitting a batch never changes it."""

    total: Array
    weight: Array

    @property
    def value(self) -> Array:
        """The mean; 0 where the weight is 0."""
        return jnp.where(self.weight > 0, self.total / jnp.maximum(self.weight, 1e-30), 0.0)


class Losses(NamedTuple):
    """What a method says of one batch, all of it additive over examples.

    terms:   {name: Mean}, the parts of the loss; the loss is the sum of scale * mean.
    scales:  {name: float} static.
    metrics: {name: Mean} for the log.
    carry:   sums that `Method.refresh` wants (batch centres, codebook counts), or ().
    """

    terms: Mapping[str, Mean]
    scales: Mapping[str, float]
    metrics: Mapping[str, Mean]
    carry: Tree


class Apply(TypedDict, total=False):
    """The functions of a method for evaluators, pictures, teachers and notebooks, by name.

    All methods of maskmim have 'encode' and 'mask'; callers test for the others, as in
    `"codes" in method.apply`. `Method.check_apply` rejects unknown names.

    encode:         (variables, batch, *, capture=()) -> Encoded of whole examples, without a mask;
                    capture as in `Net.encode`, for methods whose encoder is `Method.net`.
    encode_student: as encode, by the student where 'encode' is its average.
    mask:           (variables, batch, randomness) -> {'mask': Mask, 'inputs': f32[B, ...]}.
    reconstruct:    (variables, batch, randomness) -> the entries of 'mask' and those of
                    `Objective.pixels`.
    codes:          (variables, batch) -> i32[B, N] codes of whole examples.
    codebook:       variables -> f32[codes, D] vectors of the codes.
    draw:           (variables, codes i32[B, N]) -> u8[B, H, W, C] the pictures of codes.
    generate:       (variables, codes i32[B, N], classes i32[B], randomness, *, start=0) ->
                    i32[steps - start, B, N] codes, the unknown ones filled in; class -1 is none.
    """

    encode: Callable[..., Encoded]
    encode_student: Callable[..., Encoded]
    mask: Callable[[Variables, Batch, Randomness], dict[str, Any]]
    reconstruct: Callable[[Variables, Batch, Randomness], dict[str, Any]]
    codes: Callable[[Variables, Batch], Array]
    codebook: Callable[[Variables], Array]
    draw: Callable[[Variables, Array], Array]
    generate: Callable[..., Array]


class Method(NamedTuple):
    """A way to pretrain, as a value; trainer, evaluators, checkpoints and planner know only this.

    net:      the network, for pictures and for counting tokens.
    init:     key -> (params, extra); runs under jit.
    freeze:   () -> frozen; called once, outside jit, so that loaded arrays enter no program.
    loss:     (variables, batch, randomness, progress) -> Losses.
    refresh:  (variables, carry, progress) -> extra; called after each optimiser update.
    apply:    functions for evaluators, teachers and notebooks, see `Apply`.
    chain:    what it does, as short lines of text for people, in the order of the computation.
    sheets:   pictures to draw, by name: (variables, batch, randomness) -> {column: u8[B, H, W, C],
              or u8[B, T, H, W, C] for clips}; every row of a sheet is an example.
    """

    net: Net
    init: Callable[[Array], tuple[Tree, Tree]]
    freeze: Callable[[], Tree]
    loss: Callable[[Variables, Batch, Randomness, Array], Losses]
    refresh: Callable[[Variables, Tree, Array], Tree]
    apply: Apply
    chain: tuple[tuple[str, str], ...]
    sheets: Mapping[str, Callable[..., dict[str, Array]]] = MappingProxyType({})

    def variables(self, key: Array) -> Variables:
        """Return the variables before training, all three kinds."""
        return Variables(*self.init(key), self.freeze())

    def check_apply(self) -> None:
        """Raise ValueError for an entry of `apply` that `Apply` does not list."""
        if unknown := sorted(set(self.apply) - set(Apply.__annotations__)):
            raise ValueError(
                f"Method.apply has the unknown entries {unknown}, known are "
                f"{sorted(Apply.__annotations__)}: add new ones to maskmim.types.Apply"
            )


def nothing() -> Tree:
    """No frozen arrays."""
    return ()


class Teacher(NamedTuple):
    """A source of hints: another set of weights, a bank of noise, the data itself.

    gives:     names of the hints it finds.
    sees_mask: False: asked before the mask is drawn, so that it may inform it; True: after.
    init:      (key, net, params) -> extra, its own part of it, () for none.
    find:      (net, extra, frozen, context, mask or None) -> {name: array}; no gradient passes.
    refresh:   (extra, params, carry, progress) -> extra.
    freeze:    () -> frozen, its own part, arrays of jax or numpy; see `Method.freeze`.
    classes:   of its hints that are indices of classes, how many classes there are.
    """

    gives: tuple[str, ...]
    sees_mask: bool
    init: Callable[..., Tree]
    find: Callable[..., dict[str, Array]]
    refresh: Callable[..., Tree]
    freeze: Callable[[], Tree] = nothing
    classes: Mapping[str, int] = MappingProxyType({})


class Objective(NamedTuple):
    """One term of the loss.

    needs:   names of the hints it reads.
    scale:   its factor in the sum.
    find:    view -> (loss per predicted token f32[B, P], weight f32[B, P], metrics, carry).
    says:    one short line for people.
    pixels:  view -> {'target', 'prediction', 'pixels'}: f32[B, P, patch values] the target and the
             prediction in the loss's units, and the prediction in units of the inputs; None where
             the prediction is no picture.
    shows:   view -> {column: pictures} of what is no picture by itself, see `Method.sheets`; None
             where there is nothing to show.
    """

    needs: tuple[str, ...]
    scale: float
    find: Callable[[View], tuple[Array, Array, Mapping[str, Mean], Tree]]
    says: str
    pixels: Callable[[View], dict[str, Array]] | None = None
    shows: Callable[[View], dict[str, Array]] | None = None


class Spec(NamedTuple):
    """The shape and the statistics of one example, from `config.input`.

    size:      (H, W) of an image, (frames, H, W) of a clip, (time, mel) of a spectrogram.
    channels:  C.
    mean, std: per channel, of u8 values divided by 255, or of float32 values as they are.
    stream:    what the batch calls it, and the token grid: 'image', 'video', 'audio'.
    dtype:     of the batch's array, 'uint8' or 'float32'.
    names:     of the channels, such as 'B04', or ().
    """

    size: tuple[int, ...]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stream: str = "image"
    dtype: str = "uint8"
    names: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example in a batch."""
        return (*self.size, self.channels)
