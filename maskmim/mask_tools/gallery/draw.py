"""Masks of a sampler for the gallery: many masks of one example, as maps."""

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
from maskmim.mask_tools.gallery.hints import KNOWN, repeat_hints
from maskmim.masks.core import MaskError
from maskmim.types import Array, Context, Mask, Randomness, random_key

CHUNK = 256  # Masks of a call; bounds the memory that hints of a batch take.
PROGRESS = 0.5  # Share of training done, for samplers that change with it.
LARGE = 1000  # Tokens.
GRIDS = {2: (14, 14), 3: (8, 14, 14), 1: (128,)}  # By number of axes, in order of preference.


class MaskMaps(NamedTuple):
    """Masks as maps bool[B, *grid].

    seen:      tokens whose content the encoder gets: visible and not hidden.
    hidden:    tokens whose content the sampler withholds.
    predicted: tokens with an objective of weight above 0.
    """

    seen: np.ndarray
    hidden: np.ndarray
    predicted: np.ndarray


class DrawnSampler(NamedTuple):
    """A sampler's masks, or why it has none.

    ratio:   the mask ratio it was given, nan where it takes none.
    views:   maps of each view, or of each stream of the only view; () where it cannot be drawn.
    labels:  names that tell the views apart, () where there is one.
    trouble: why it cannot be drawn, for people; '' where it can.
    """

    sampler: Sampler
    grid: tuple[int, ...]
    ratio: float
    views: tuple[MaskMaps, ...]
    labels: tuple[str, ...]
    trouble: str


def default_grid(sampler: Sampler) -> tuple[int, ...]:
    """Return the grid on which a sampler is shown unless the user gives one."""
    usual = next(grid for axes, grid in GRIDS.items() if axes in sampler.axes)
    return examples.example_setting(sampler.name, examples.GRIDS, usual)


def obstacle(sampler: Sampler) -> str:
    """Return why a sampler cannot be drawn on any grid, '' where it can."""
    unknown = [name for name in sampler.needs if name not in KNOWN]
    if unknown:
        return f"needs hint {', '.join(unknown)}"
    missing = set(sampler.takes) - {"ratio"} - set(example_keywords(sampler))
    if missing:
        return f"takes {', '.join(sorted(missing))}: no example in gallery/examples.py"
    return ""


def example_keywords(sampler: Sampler) -> dict[str, Any]:
    """Return the keywords that a sampler is shown with, without the ratio of the command."""
    return dict(examples.example_setting(sampler.name, examples.KEYWORDS, {}))


def readable_hints(sampler: Sampler) -> frozenset[str]:
    """Return the known hints that a sampler may read: all of them where it has parts."""
    return KNOWN if example_keywords(sampler) else KNOWN.intersection(sampler.needs)


def draw_sampler(
    sampler: Sampler,
    grid: tuple[int, ...],
    hints: Mapping[str, Array],
    *,
    ratio: float,
    seed: int,
    count: int,
) -> DrawnSampler:
    """Draw masks of a sampler; the result has none where it cannot serve the grid.

    hints: by name, of `hints.compute_hint`.
    count: number of masks, rounded up to whole calls of CHUNK masks.
    """
    keywords = example_keywords(sampler)
    if "ratio" in inspect.signature(sampler.function).parameters:
        keywords.setdefault("ratio", ratio)
    ratio_used = keywords.get("ratio", math.nan)
    trouble = obstacle(sampler)
    if trouble:
        return DrawnSampler(sampler, grid, ratio_used, (), (), trouble)
    streams = examples.example_setting(sampler.name, examples.STREAMS, ())
    grids = dict.fromkeys(streams or ("tokens",), grid)
    inputs = {} if streams else hints

    @functools.partial(jax.jit, compiler_options=_compiler_options(math.prod(grid)))
    def draw_maps(slots: Array, hints: Mapping[str, Array]) -> tuple[MaskMaps, ...]:
        randomness = Randomness(random_key(seed), slots)
        context = Context({}, grids, repeat_hints(hints, CHUNK), PROGRESS)
        masks = sampler.function(randomness, context, **keywords)
        return tuple(_mask_maps(mask) for mask in ((masks,) if isinstance(masks, Mask) else masks))

    try:
        chunks = [
            draw_maps(jnp.arange(start, start + CHUNK, dtype=jnp.uint32), inputs)
            for start in range(0, count, CHUNK)
        ]
    except MaskError as error:
        return DrawnSampler(sampler, grid, ratio_used, (), (), f"not on {grid_text(grid)}: {error}")
    flat_views = jax.tree.map(lambda *parts: np.concatenate(parts), *chunks)
    views = tuple(view for maps in flat_views for view in _split_streams(maps, grid))
    return DrawnSampler(sampler, grid, ratio_used, views, _view_labels(streams, len(views)), "")


def _split_streams(maps: MaskMaps, grid: tuple[int, ...]) -> list[MaskMaps]:
    """Split maps bool[B, N of all streams] into the maps bool[B, *grid] of each stream."""
    split = [array.reshape(len(array), -1, *grid) for array in maps]
    return [MaskMaps(*(array[:, stream] for array in split)) for stream in range(split[0].shape[1])]


def _view_labels(streams: tuple[str, ...], views: int) -> tuple[str, ...]:
    if streams or views == 1:
        return streams
    return tuple(f"{number}/{views}" for number in range(1, views + 1))


def _compiler_options(tokens: int) -> dict[str, int]:
    """Return compiler options: little optimisation, as compiling takes longer than drawing.

    Large grids get more.
    """
    return {"xla_backend_optimization_level": 0 if tokens < LARGE else 1}


def _mask_maps(mask: Mask) -> MaskMaps:
    """Return the maps of a mask: bool[B, N]."""
    empty = jnp.zeros(mask.hidden.shape, bool)
    rows = jnp.arange(empty.shape[0])[:, None]
    visible = empty.at[rows, mask.visible].set(True)
    # The maximum: a token may be listed twice, once without weight.
    predicted = empty.at[rows, mask.predict].max(mask.weight > 0)
    return MaskMaps(visible & ~mask.hidden, mask.hidden, predicted)


def grid_text(grid: tuple[int, ...]) -> str:
    """Return a grid as text for people: 8 x 14 x 14, or 128 tokens."""
    return " x ".join(map(str, grid)) if len(grid) > 1 else f"{math.prod(grid)} tokens"
