"""The bricks of the method of views: whether they fit together, and what it says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from maskmim.config.describe import title
from maskmim.methods.masked import MethodError, check_calls, check_hints, check_terms
from maskmim.methods.view_losses import PAIRS
from maskmim.models.running_norms import check_part_names
from maskmim.types import (
    Context,
    Mask,
    Net,
    Objective,
    PairObjective,
    Randomness,
    Spec,
    Teacher,
)

# What a reader finds in `Encoded.given` of the view that it reads.
MEMORIES = "memory", "memory_places"


class Parts(NamedTuple):
    """The built bricks of the method; objectives, pairs and teachers by name.

    undeclared: the functions of `config.calls` that no brick declares in its `calls`.
    """

    spec: Spec
    net: Net
    mask: Callable[[Randomness, Context], tuple[Mask, ...]]
    objectives: Mapping[str, Objective]
    pairs: Mapping[str, PairObjective]
    teachers: Mapping[str, Teacher]
    predicts: tuple[int, ...]
    reads: tuple[tuple[int, int], ...]
    undeclared: tuple[str, ...] = ()


def check_parts(parts: Parts) -> None:
    """Raise MethodError where the bricks do not fit together."""
    terms = {**parts.objectives, **parts.pairs}
    check_hints(parts.mask, terms, parts.teachers)
    check_calls(parts.net, callers(parts))
    check_part_names({**terms, **parts.teachers})
    _check_names(parts)
    if parts.objectives and not parts.predicts:
        raise MethodError(
            f"objectives has {', '.join(parts.objectives)}, but predicts is empty: name the views "
            "that they are taken on, such as predicts=(0,)"
        )
    if len(set(parts.predicts)) < len(parts.predicts):
        raise MethodError(f"predicts={parts.predicts} names a view twice: name each view once")
    readers = [reader for reader, _ in parts.reads]
    for reader, read in parts.reads:
        if reader == read or readers.count(reader) > 1 or reader not in parts.predicts:
            raise MethodError(
                f"reads has ({reader}, {read}): a view that predicts reads one other view; "
                f"predicts is {parts.predicts}"
            )
    if parts.reads and not set(parts.net.reads) & set(MEMORIES):
        raise MethodError(
            f"reads is {parts.reads}, but the predictor of the model reads no other view: use one "
            "that does, such as maskmim.models.siamese.vit_siamese, or set reads=() (a model of "
            "your own says so by Net.reads=('memory',))"
        )


def callers(parts: Parts) -> dict[str, Mapping[str, Objective | PairObjective | Teacher]]:
    """Return the bricks that may call functions of the network, by section and name."""
    return {"objectives": parts.objectives, PAIRS: parts.pairs, "teachers": parts.teachers}


def _check_names(parts: Parts) -> None:
    """Raise MethodError for names that two bricks share, for no term, and for several streams."""
    if shared := sorted(set(parts.objectives) & set(parts.pairs)):
        raise MethodError(
            f"objectives.{shared[0]} and pairs.{shared[0]} share a name, which terms of the loss "
            "must not: rename one of them"
        )
    if shared := sorted(set(parts.teachers) & set(parts.pairs)):
        raise MethodError(
            f"teachers.{shared[0]} and pairs.{shared[0]} share a name, under which both would keep "
            "their arrays: rename one of them"
        )
    if len(parts.net.grids) > 1:
        raise MethodError(
            f"the model has the streams {', '.join(parts.net.grids)}, but views are of one stream: "
            "use a model of one stream, or the method maskmim.methods.masked.masked"
        )
    check_terms({"objectives": parts.objectives, PAIRS: parts.pairs})
    if PAIRS in parts.teachers:
        raise MethodError(f"teachers.{PAIRS}: this name is taken by the pairs: choose another")


def chain_of(parts: Parts) -> tuple[tuple[str, str], ...]:
    """Return `Method.chain`: tokens, teachers, sampler, networks, objectives, pairs."""
    grids = (f"{name} {'x'.join(map(str, grid))}" for name, grid in parts.net.grids.items())
    teachers = (
        (f"teacher {name}", f"gives {', '.join(teacher.gives)}, of each view")
        for name, teacher in parts.teachers.items()
    )
    on = f"on {'view' if len(parts.predicts) == 1 else 'views'} "
    on += ", ".join(map(str, parts.predicts))
    return (
        ("tokens", f"{', '.join(grids)}, in each view"),
        *teachers,
        ("sampler", f"{title(parts.mask)}, a mask for each view"),
        *parts.net.says,
        *((f"view {reader}", f"predicts from view {read}, too") for reader, read in parts.reads),
        *((f"objective {name}", f"{term.says}, {on}") for name, term in parts.objectives.items()),
        *((f"pair {name}", pair.says) for name, pair in parts.pairs.items()),
    )
