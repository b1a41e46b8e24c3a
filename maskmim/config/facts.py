"""What a brick declares besides its signature: hints, grids, counts, pictures, needs.

A decorator of the brick's kind attaches a `Facts`; `facts_of` reads it, through any
functools.partial. Bricks of your own package use the same decorators:

    from maskmim.config import facts

    def half_counts(grid, *, ratio):
        return math.prod(grid) // 2, math.prod(grid) // 2

    @facts.sampler(axes=(3,), needs=("flow",), counts=half_counts)
    def moving_half(randomness, context, *, ratio: float) -> Mask:
        ...

A brick without a decorator has the defaults of `Facts`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from maskmim.errors import UserError

Function = TypeVar("Function", bound=Callable)

ANY_AXES = (1, 2, 3)
# What a measure may need, see `maskmim.evals.needs`.
MEASURE_NEEDS = (
    *("features", "labels", "label_maps", "loss", "samples", "student", "test", "training"),
)


class FactsError(UserError, ValueError):
    """A brick declares what does not exist."""


@dataclass(frozen=True)
class Facts:
    """The declarations of a brick.

    needs:        names of the hints that it reads; samplers, scores and targets. Of a measure:
                  what it needs, of MEASURE_NEEDS.
    axes:         numbers of grid axes that a sampler serves: 1 for sequences, 2 for images and
                  spectrograms, 3 for clips.
    counts:       (grid, *, ratio, ...) -> (visible, predicted) tokens of a sampler, or a tuple of
                  such pairs, one per view; None where `masks.core.split_counts` gives them.
    pixels:       (view, prediction f32[B, P, V]) -> f32[B, P, V] the prediction of a target in
                  units of the inputs; None where the prediction is not pixels.
    shows:        (view, prediction, **keywords of the target) -> {column: pictures} of a target
                  that is not pixels, see `Method.sheets`; None where nothing can be drawn.
    gives:        names of the hints that a teacher's function returns.
    makes:        (size, channels, **keywords of the augmentation) -> {array: shape} of one example;
                  None where it makes one array of the shape of the input.
    needs_labels: whether a probe needs labelled images.
    Raises TypeError where text stands for a tuple of names.
    """

    needs: tuple[str, ...] = ()
    axes: tuple[int, ...] = ANY_AXES
    counts: Callable[..., tuple] | None = None
    pixels: Callable[..., Any] | None = None
    shows: Callable[..., dict[str, Any]] | None = None
    gives: tuple[str, ...] = ()
    makes: Callable[..., dict[str, tuple[int, ...]]] | None = None
    needs_labels: bool = False

    def __post_init__(self) -> None:
        for field in ("needs", "gives"):
            if isinstance(names := getattr(self, field), str):
                raise TypeError(f"{field}={names!r}: give a tuple of names, ({names!r},)")


def sampler(
    *,
    needs: tuple[str, ...] = (),
    axes: tuple[int, ...] = ANY_AXES,
    counts: Callable[..., tuple] | None = None,
) -> Callable[[Function], Function]:
    """Declare the hints, grids and token counts of a sampler, see `Facts`."""
    return _attached(Facts(needs=needs, axes=axes, counts=counts))


def scores(*, needs: tuple[str, ...]) -> Callable[[Function], Function]:
    """Declare the hints that a function of scores reads."""
    return _attached(Facts(needs=needs))


def target(
    *,
    needs: tuple[str, ...] = (),
    pixels: Callable[..., Any] | None = None,
    shows: Callable[..., dict[str, Any]] | None = None,
) -> Callable[[Function], Function]:
    """Declare the hints of a target and how its predictions are drawn, see `Facts`."""
    return _attached(Facts(needs=needs, pixels=pixels, shows=shows))


def finder(*, gives: tuple[str, ...]) -> Callable[[Function], Function]:
    """Declare the hints that a teacher's function returns."""
    return _attached(Facts(gives=gives))


def augmentation(
    *, makes: Callable[..., dict[str, tuple[int, ...]]]
) -> Callable[[Function], Function]:
    """Declare the arrays that an augmentation makes of one example, see `Facts.makes`."""
    return _attached(Facts(makes=makes))


def probe(*, needs_labels: bool) -> Callable[[Function], Function]:
    """Declare whether a probe needs labelled images."""
    return _attached(Facts(needs_labels=needs_labels))


def measure(*, needs: tuple[str, ...] = ()) -> Callable[[Function], Function]:
    """Declare what a measure needs, names of MEASURE_NEEDS.

    The decorator raises FactsError, which names the measure, for anything else.
    """

    def attach(function: Function) -> Function:
        of_whom = f"the measure {function.__module__}.{function.__qualname__} has needs={needs!r}"
        if not isinstance(needs, tuple | list):
            raise FactsError(f"{of_whom}: give a tuple of names, ({needs!r},)")
        if unknown := [str(need) for need in needs if need not in MEASURE_NEEDS]:
            raise FactsError(
                f"{of_whom}: there is no need {', '.join(unknown)}; known are "
                f"{', '.join(MEASURE_NEEDS)}"
            )
        return _attached(Facts(needs=tuple(needs)))(function)

    return attach


def _attached(facts: Facts) -> Callable[[Function], Function]:
    """Return a decorator that attaches facts and returns the function itself."""

    def attach(function: Function) -> Function:
        function.maskmim_facts = facts
        return function

    return attach


def facts_of(brick: Callable) -> Facts:
    """Return the facts of a brick, bound or not; the defaults where it declares none."""
    return getattr(function_of(brick), "maskmim_facts", Facts())


def function_of(brick: Callable) -> Callable:
    """Return the function of a brick without the functools.partial objects around it."""
    while isinstance(brick, functools.partial):
        brick = brick.func
    return brick


def bound_keywords(brick: Callable) -> dict[str, Any]:
    """Return the keywords that functools.partial objects bind to a brick; outer ones win."""
    if not isinstance(brick, functools.partial):
        return {}
    return {**bound_keywords(brick.func), **brick.keywords}
