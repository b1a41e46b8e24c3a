"""Draws a sampler for the gallery: many masks of one example, as maps."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.mask_tools.discovery import Sampler
from maskmim.mask_tools.gallery import examples
from maskmim.mask_tools.gallery.hints import KNOWN, spread
from maskmim.masks.core import MaskError
from maskmim.types import Array, Context, Mask, Randomness

TOGETHER = 256  # Masks of a call; bounds the memory that hints of a batch take.
PROGRESS = 0.5  # Share of training done, for samplers that change with it.
LARGE = 1000  # Tokens.
GRIDS = {2: (14, 14), 3: (8, 14, 14), 1: (128,)}  # In the order of preference.


class View(NamedTuple):
    """Masks as maps bool[B, *grid].

    seen:      tokens whose content the encoder gets: visible and not hidden.
    hidden:    tokens whose content is withheld, as the sampler says.
    predicted: tokens with an objective of weight above 0.
    """

    seen: np.ndarray
    hidden: np.ndarray
    predicted: np.ndarray


class Drawn(NamedTuple):
    """What became of a sampler.

    asked:   the mask ratio it was given, nan where it takes none.
    views:   one for each of its masks, or for each stream of its only one; () where it could not
             be drawn.
    labels:  what tells the views apart, () where there is one.
    trouble: why not, for people; '' where it was.
    """

    sampler: Sampler
    grid: tuple[int, ...]
    asked: float
    views: tuple[View, ...]
    labels: tuple[str, ...]
    trouble: str


def grid_of(sampler: Sampler) -> tuple[int, ...]:
    """The grid on which a sampler is shown unless one is asked for."""
    usual = next(grid for axes, grid in GRIDS.items() if axes in sampler.axes)
    return examples.of(sampler.name, examples.GRIDS, usual)


def obstacle(sampler: Sampler) -> str:
    """Why a sampler cannot be drawn at all, '' where it can."""
    unknown = [name for name in sampler.needs if name not in KNOWN]
    if unknown:
        return f"needs hint {', '.join(unknown)}"
    lacking = set(sampler.takes) - {"ratio"} - set(keywords_of(sampler))
    if lacking:
        return f"takes {', '.join(sorted(lacking))}: no example in gallery/examples.py"
    return ""


def keywords_of(sampler: Sampler) -> dict[str, Any]:
    """The keywords that it is shown with, without a ratio."""
    return dict(examples.of(sampler.name, examples.KEYWORDS, {}))


def hints_wanted(sampler: Sampler) -> frozenset[str]:
    """The known hints that it may read: all of them where its parts may."""
    return KNOWN if keywords_of(sampler) else KNOWN.intersection(sampler.needs)


def draw(
    sampler: Sampler,
    grid: tuple[int, ...],
    hints: Mapping[str, Array],
    *,
    ratio: float,
    seed: int,
    count: int,
) -> Drawn:
    """Masks of a sampler, without them where it cannot serve the grid.

    hints: by name, of `hints.hint_of`; count: number of masks, rounded up to whole calls.
    """
    keywords = keywords_of(sampler)
    if "ratio" in inspect.signature(sampler.function).parameters:
        keywords.setdefault("ratio", ratio)
    asked = keywords.get("ratio", math.nan)
    trouble = obstacle(sampler)
    if trouble:
        return Drawn(sampler, grid, asked, (), (), trouble)
    streams = examples.of(sampler.name, examples.STREAMS, ())
    grids = dict.fromkeys(streams or ("tokens",), grid)
    known = {} if streams else hints

    @functools.partial(jax.jit, compiler_options=_quick(math.prod(grid)))
    def maps(slots: Array, hints: Mapping[str, Array]) -> tuple[View, ...]:
        randomness = Randomness(jax.random.key(seed), slots)
        context = Context({}, grids, spread(hints, TOGETHER), PROGRESS)
        masks = sampler.function(randomness, context, **keywords)
        return tuple(_view(mask) for mask in (masks if sampler.views else (masks,)))

    try:
        parts = [
            maps(jnp.arange(start, start + TOGETHER, dtype=jnp.uint32), known)
            for start in range(0, count, TOGETHER)
        ]
    except MaskError as error:
        return Drawn(sampler, grid, asked, (), (), f"not on {shape_text(grid)}: {error}")
    views = jax.tree.map(lambda *each: np.concatenate(each), *parts)
    found = tuple(part for view in views for part in _by_stream(view, grid))
    return Drawn(sampler, grid, asked, found, _labels(streams, len(found)), "")


def _by_stream(view: View, grid: tuple[int, ...]) -> list[View]:
    """The maps bool[B, N of all streams] of each stream: bool[B, *grid]."""
    shaped = [each.reshape(len(each), -1, *grid) for each in view]
    return [View(*(each[:, stream] for each in shaped)) for stream in range(shaped[0].shape[1])]


def _labels(streams: tuple[str, ...], views: int) -> tuple[str, ...]:
    if streams or views == 1:
        return streams
    return tuple(f"{place + 1}/{views}" for place in range(views))


def _quick(tokens: int) -> dict[str, int]:
    """Compiling takes longer than drawing, except on large grids: it is told to try less hard."""
    return {"xla_backend_optimization_level": 0 if tokens < LARGE else 1}


def _view(mask: Mask) -> View:
    """The maps of a mask: bool[B, N]."""
    empty = jnp.zeros(mask.hidden.shape, bool)
    rows = jnp.arange(empty.shape[0])[:, None]
    visible = empty.at[rows, mask.visible].set(True)
    # A maximum, for a token may be listed twice, once without weight.
    predicted = empty.at[rows, mask.predict].max(mask.weight > 0)
    return View(visible & ~mask.hidden, mask.hidden, predicted)


def shape_text(grid: tuple[int, ...]) -> str:
    """A grid for people: 8 x 14 x 14, or 128 tokens."""
    return " x ".join(map(str, grid)) if len(grid) > 1 else f"{math.prod(grid)} tokens"
