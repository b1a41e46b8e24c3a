"""Rank mask samplers on labelled images, without training.

How much of the labels do the first K features of the optimal linear autoencoder under the masks of
a sampler capture, relative to all pixels? See maskmim.mask_tools.alignment.
`python -m benchmarks.rank_samplers` prints the table.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from maskmim.data.decode import decode
from maskmim.data.records import BadImage, DataError, Records
from maskmim.data.transforms import resize_center_crop
from maskmim.mask_tools.alignment import (
    Labelled,
    Moments,
    alignment,
    independent_moments,
    masked,
    noisy,
    on_pixels,
    optimum,
    sampler_moments,
)
from maskmim.mask_tools.discovery import Sampler, samplers
from maskmim.masks.core import MaskError

NO_MASK = "(no mask)"
INDEPENDENT = "(independent)"


class Tokens(NamedTuple):
    """How pictures are cut into tokens: size pixels a side, patch pixels a token, channels."""

    size: int
    patch: int
    channels: int

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of tokens."""
        return (self.size // self.patch,) * 2


class Ranked(NamedTuple):
    """A sampler's result. hidden: the measured share; curves: f64[seeds, widths] alignment."""

    name: str
    hidden: float
    curves: np.ndarray

    @property
    def score(self) -> float:
        """The mean over widths and seeds, which ranks."""
        return float(self.curves.mean())


def rankable(names: Sequence[str] = ()) -> tuple[Sampler, ...]:
    """Samplers that serve images and need only a ratio, all or those named.

    Raises MaskError for a name that is none of them.
    """
    found = {
        each.name: each
        for each in samplers()
        if 2 in each.axes and not each.needs and each.takes == ("ratio",)
    }
    unknown = sorted(set(names) - set(found))
    if unknown:
        raise MaskError(f"cannot rank {', '.join(unknown)}: choose from {', '.join(sorted(found))}")
    return tuple(found[name] for name in names or sorted(found))


def rank(
    data: Labelled,
    tokens: Tokens,
    found: Sequence[Sampler],
    *,
    ratio: float,
    widths: Sequence[int],
    draws: int = 4096,
    seeds: int = 3,
) -> Iterator[Ranked | tuple[str, MaskError]]:
    """The alignment of each sampler, one after the other; (name, error) where it cannot be drawn.

    widths: the numbers K of features. draws: masks that moments are taken of; seeds: how often.
    """
    for sampler in found:
        bound = functools.partial(sampler.function, ratio=ratio)
        try:
            moments = [
                sampler_moments(bound, tokens.grid, draws=draws, seed=seed) for seed in range(seeds)
            ]
        except MaskError as error:
            yield sampler.name, error
        else:
            yield _ranked(sampler.name, moments, data, tokens, widths)


def references(
    data: Labelled, tokens: Tokens, *, ratio: float, widths: Sequence[int]
) -> tuple[Ranked, Ranked]:
    """No mask, and tokens that are hidden independently of each other (no exact count)."""
    without = alignment(optimum(noisy(data.clean, sigma=0.0)).encoder[:, : max(widths)], data)
    independent = independent_moments(tokens.grid[0] * tokens.grid[1], hidden=ratio)
    return (
        Ranked(NO_MASK, 0.0, without[None, np.asarray(widths) - 1]),
        _ranked(INDEPENDENT, [independent], data, tokens, widths),
    )


def _ranked(
    name: str, moments: Sequence[Moments], data: Labelled, tokens: Tokens, widths: Sequence[int]
) -> Ranked:
    """The alignment of masks with given moments on tokens, one row for each of them.

    Where some pixels are never visible there may be fewer features than the largest width: more
    of them then capture as much as all.
    """
    rows = []
    for each in moments:
        pixels = on_pixels(each, tokens.grid, patch=tokens.patch, channels=tokens.channels)
        curve = alignment(optimum(masked(data.clean, pixels)).encoder[:, : max(widths)], data)
        rows.append(curve[np.minimum(widths, len(curve)) - 1])
    hidden = 1 - float(np.mean([each.mean for each in moments]))
    return Ranked(name, hidden, np.stack(rows))


def pictures(
    records: Records, tokens: Tokens, *, label_set: str, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Small pictures u8[N, size, size, channels] and labels i64[N], at most `most`, spread evenly.

    The largest centred square of each, resized; unreadable images are left out.
    Raises DataError for a label set that the images do not have, and where none can be read.
    """
    if label_set not in records.labels:
        raise DataError(f"no labels {label_set!r}: --labels may be {', '.join(records.labels)}")
    rng, side = np.random.default_rng(0), (tokens.size, tokens.size)
    small, labels = [], []
    places = np.unique(np.linspace(0, len(records) - 1, min(most, len(records))).astype(int))
    for place in tqdm(places, desc="images", unit="images", leave=False, disable=None):
        try:
            example = records[int(place)]
            picture = decode(example.encoded, channels=tokens.channels)
        except BadImage:
            continue
        small.append(resize_center_crop(rng, picture, side, crop_fraction=1.0))
        labels.append(example.labels[label_set])
    if not small:
        raise DataError(f"none of {len(places)} images can be read: name another --folder")
    return np.stack(small), np.asarray(labels)


def table(rows: Sequence[Ranked], widths: Sequence[int]) -> str:
    """The rows as text, best first: percentages of what all pixels capture.

    'spread' is the largest standard deviation over the draws of masks, at any K.
    """
    longest = max(len(row.name) for row in rows)
    heads = "".join(f"{f'K={width}':>8}" for width in widths)
    lines = [f"{'sampler':<{longest}}{'hidden':>9}{heads}{'mean':>8}{'spread':>8}"]
    for row in sorted(rows, key=lambda row: -row.score):
        cells = "".join(f"{100 * value:8.2f}" for value in row.curves.mean(0))
        spread = 100 * row.curves.std(0).max()
        shown = f"{spread:8.2f}" if len(row.curves) > 1 else " " * 8
        hidden = f"{100 * row.hidden:7.1f} %"
        lines.append(f"{row.name:<{longest}}{hidden}{cells}{100 * row.score:8.2f}{shown}".rstrip())
    return "\n".join(lines)
