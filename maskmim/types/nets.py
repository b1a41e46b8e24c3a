"""A network as pure functions, and what its encoder returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from maskmim.types.arrays import Array, Batch, Tree


class Encoded(NamedTuple):
    """What an encoder returns.

    prefix:    f32[B, R, D] class token (first, where there is one) and registers.
    tokens:    f32[B, K, D] the visible tokens, in the order of `Mask.visible`; of a Perceiver its
               latents, which stand for no token.
    layers:    f32[depth, B, R + K, D] the output of every block, before the last norm; None
               unless captured.
    attention: f32[depth, B, heads, R + K] attention of the first prefix token; None unless
               captured.
    embedded:  f32[B, R + K, D] what enters the first block; None unless captured.
    queries, keys, values: f32[depth, B, heads, R + K, size] of the attention of every block; None
               unless captured.
    kept:      i32[B, n] places in `Mask.visible` of the n tokens that are left, of an encoder that
               leaves visible tokens out on its way; None where all are.
    stages:    f32[B, rows, columns, D] the output of every stage of an encoder whose stages differ
               in their grids, the finest first, before the next stage merges its tokens and before
               the last norm; None unless captured. Cells that did not enter hold no meaning.
    mlps:      f32[depth, B, R + K, D] the output of every block's MLP, before it is added to what
               entered; None unless captured.
    given:     what else the predictor may know of the example, by name: places of tokens in space,
               the tokens of another view, padding.
    sums:      of batch norms, in training, see `RunningNorms`; {} where there are none.
    """

    prefix: Array
    tokens: Array
    layers: Array | None = None
    attention: Array | None = None
    embedded: Array | None = None
    stages: tuple[Array, ...] | None = None
    mlps: Array | None = None
    given: Mapping[str, Array] = {}
    sums: Mapping[str, Tree] = {}
    queries: Array | None = None
    keys: Array | None = None
    values: Array | None = None
    kept: Array | None = None


class RunningNorms(NamedTuple):
    """Averages of batch statistics that the norms of a network keep for evaluation.

    A method keeps them in `extra` by the functions of `models.running_norms`; a network whose
    params hold them reads them in place of its batch's statistics.

    init:   () -> the averages before the first step.
    update: (averages, sums of `Encoded.sums`) -> the averages after a step.
    """

    init: Callable[[], Tree]
    update: Callable[[Tree, Tree], Tree]


class Net(NamedTuple):
    """A network as pure functions over plain nested dicts of arrays; `models/` makes them.

    grids:     token grids by stream, see `Context.grids`.
    width:     D of the encoder.
    init:      key -> params.
    inputs:    batch -> the normalised input that tokens and pixel targets are made of: f32[B, ...],
               or a tree of arrays with examples first (groups of points, several streams).
    encode:    (params, inputs, mask or None, *, capture=(), randomness=None) -> Encoded. Hidden
               tokens that are visible are filled with the mask embedding, then visible ones are
               gathered; with mask None every token enters. capture: any of 'layers', 'attention',
               'embedded', 'queries', 'keys', 'values', 'mlps', 'stages'. randomness: of dropped
               paths; without it nothing is dropped.
    predict:   (params, Encoded, mask, *, randomness=None) -> {head: f32[B, P, width of the head]};
               randomness as for encode, where the predictor drops paths.
    patchify:  f32[B, ...] inputs -> f32[B, N, patch values], row, column, channel order. Of several
               streams {stream: inputs} -> {stream: patches}, also of some of them; so do restore
               and display, see `models.streams.stream_net`.
    restore:   the inverse of patchify; None where tokens are not parts of a picture.
    display:   f32[B, ...] inputs -> u8 of the same shape to be looked at, the inverse of the
               normalisation; None for what has no picture.
    says:      short lines for people: ('encoder', ...), ('decoder', ...).
    calls:     further functions (params, ...) -> arrays by name, which objectives and teachers
               call: 'project', 'classify', 'denoise'; see `LearnedFunction`.
    norms:     its running averages of batch norms; None for a network without such norms.
    reads:     names of what its predictor reads of `Encoded.given`, which a method must put there.
    """

    grids: Mapping[str, tuple[int, ...]]
    width: int
    init: Callable[[Array], Tree]
    inputs: Callable[[Batch], Tree]
    encode: Callable[..., Encoded]
    predict: Callable[..., dict[str, Array]]
    patchify: Callable[[Tree], Array]
    restore: Callable[[Array], Tree] | None
    display: Callable[[Tree], Array] | None
    says: tuple[tuple[str, str], ...] = ()
    calls: Mapping[str, Callable[..., Any]] = MappingProxyType({})
    norms: RunningNorms | None = None
    reads: tuple[str, ...] = ()


class LearnedFunction(NamedTuple):
    """A function with parameters of its own that objectives call by name, such as a projector.

    init: key -> params.
    call: (params, ...) -> array, pure.
    says: a short line for people.
    """

    init: Callable[[Array], Tree]
    call: Callable[..., Array]
    says: str = ""
