"""What an objective sees of a batch, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from maskmim.types.arrays import Array, Tree
from maskmim.types.losses import Mean
from maskmim.types.masks import Context, Mask
from maskmim.types.nets import Encoded, Net
from maskmim.types.randomness import Randomness


def no_extra(key: Array, net: Net, params: Tree) -> Tree:
    """Return (): nothing is kept between steps."""
    return ()


def kept_extra(extra: Tree, carry: Tree) -> Tree:
    """Return what is kept between steps as it was."""
    return extra


class View(NamedTuple):
    """What a target or an objective sees of one batch.

    inputs:     of `Net.inputs`.
    encoded:    None for a method without an encoder pass.
    outputs:    the heads' predictions.
    params:     the model's parameters, for `Net.calls`; gradients pass.
    randomness: of the objective alone; None where nothing may be drawn.
    """

    net: Net
    context: Context
    inputs: Tree
    mask: Mask
    encoded: Encoded
    outputs: Mapping[str, Array]
    extra: Tree
    params: Tree = ()
    randomness: Randomness | None = None


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
    calls:   names of the functions of `Net.calls` that it calls.
    captures: what it reads of the encoder besides its output, names of `Net.encode`'s `capture`;
             the methods `masked` and `masked_views` capture it.
    """

    needs: tuple[str, ...]
    scale: float
    find: Callable[[View], tuple[Array, Array, Mapping[str, Mean], Tree]]
    says: str
    pixels: Callable[[View], dict[str, Array]] | None = None
    shows: Callable[[View], dict[str, Array]] | None = None
    calls: tuple[str, ...] = ()
    captures: tuple[str, ...] = ()


class PairObjective(NamedTuple):
    """One term of the loss that compares the views of an example, for `methods.views`.

    needs, scale, says, calls: as of `Objective`.
    find:    (views, extra) -> (loss f32[B] of each example or f32[B, P] of its tokens, weight of
             the same shape, metrics, carry); views is a tuple with a View for each mask.
    init:    (key, net, params) -> extra, its own part of it, () for none.
    refresh: (extra, carry) -> extra, after each update.
    """

    needs: tuple[str, ...]
    scale: float
    find: Callable[[tuple[View, ...], Tree], tuple[Array, Array, Mapping[str, Mean], Tree]]
    says: str
    calls: tuple[str, ...] = ()
    init: Callable[..., Tree] = no_extra
    refresh: Callable[[Tree, Tree], Tree] = kept_extra
