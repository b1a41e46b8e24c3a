"""Ranking of mask samplers on labelled images, without training.

The score is how much of the labels the first K features of the optimal linear autoencoder under a
sampler's masks capture, relative to all pixels, see maskmim.mask_tools.alignment.
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
    LabelledImages,
    Moments,
    alignment,
    independent_moments,
    mask_corruption,
    noise_corruption,
    optimal_autoencoder,
    pixel_moments,
    sampler_moments,
)
from maskmim.mask_tools.discovery import Sampler, samplers
from maskmim.masks.core import MaskError

NO_MASK = "(no mask)"
INDEPENDENT = "(independent)"


class Tokens(NamedTuple):
    """The tokens of square pictures: pixels per side, pixels per side of a token, channels."""

    size: int
    patch: int
    channels: int

    @property
    def grid(self) -> tuple[int, int]:
        """Return the (rows, columns) of tokens."""
        return (self.size // self.patch,) * 2


class Ranked(NamedTuple):
    """A sampler's result.

    hidden: measured share of hidden tokens.
    curves: f64[seeds, widths] alignment.
    """

    name: str
    hidden: float
    curves: np.ndarray

    @property
    def score(self) -> float:
        """Return the mean over widths and seeds, by which samplers are ranked."""
        return float(self.curves.mean())


def rankable_samplers(names: Sequence[str] = ()) -> tuple[Sampler, ...]:
    """Return the samplers that serve images and need only a ratio, all or those named.

    Raises MaskError for any other name.
    """
    by_name = {
        sampler.name: sampler
        for sampler in samplers()
        if 2 in sampler.axes and not sampler.needs and sampler.takes == ("ratio",)
    }
    unknown = ", ".join(sorted(set(names) - set(by_name)))
    if unknown:
        raise MaskError(f"cannot rank {unknown}: choose from {', '.join(sorted(by_name))}")
    return tuple(by_name[name] for name in names or sorted(by_name))


def rank(
    data: LabelledImages,
    tokens: Tokens,
    selected: Sequence[Sampler],
    *,
    ratio: float,
    widths: Sequence[int],
    draws: int = 4096,
    seeds: int = 3,
) -> Iterator[Ranked | tuple[str, MaskError]]:
    """Yield the alignment of each sampler in turn, or (name, error) where it cannot be drawn.

    widths: numbers K of features.
    draws:  masks from which moments are measured.
    seeds:  number of such measurements.
    """
    for sampler in selected:
        bound = functools.partial(sampler.function, ratio=ratio)
        try:
            moments = [
                sampler_moments(bound, tokens.grid, draws=draws, seed=seed) for seed in range(seeds)
            ]
        except MaskError as error:
            yield sampler.name, error
        else:
            yield _rank_moments(sampler.name, moments, data, tokens, widths)


def rank_references(
    data: LabelledImages, tokens: Tokens, *, ratio: float, widths: Sequence[int]
) -> tuple[Ranked, Ranked]:
    """Return the results of no mask, and of tokens hidden independently (no exact count)."""
    unmasked = alignment(
        optimal_autoencoder(noise_corruption(data.clean, sigma=0.0)).encoder[:, : max(widths)], data
    )
    independent = independent_moments(tokens.grid[0] * tokens.grid[1], hidden=ratio)
    return (
        Ranked(NO_MASK, 0.0, unmasked[None, np.asarray(widths) - 1]),
        _rank_moments(INDEPENDENT, [independent], data, tokens, widths),
    )


def _rank_moments(
    name: str,
    moments: Sequence[Moments],
    data: LabelledImages,
    tokens: Tokens,
    widths: Sequence[int],
) -> Ranked:
    """Return the alignment of masks with these moments on tokens, one curve for each of them.

    Where some pixels are never visible, the number of features may be below the largest width; such
    a width has the alignment of all features.
    """
    curves = []
    for of_seed in moments:
        pixels = pixel_moments(of_seed, tokens.grid, patch=tokens.patch, channels=tokens.channels)
        curve = alignment(
            optimal_autoencoder(mask_corruption(data.clean, pixels)).encoder[:, : max(widths)], data
        )
        curves.append(curve[np.minimum(widths, len(curve)) - 1])
    hidden = 1 - float(np.mean([of_seed.mean for of_seed in moments]))
    return Ranked(name, hidden, np.stack(curves))


def load_pictures(
    records: Records, tokens: Tokens, *, label_set: str, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Load at most `most` small pictures u8[N, size, size, channels] and their labels i64[N].

    Records are spread evenly. A picture is the largest centred square, resized; unreadable images
    are skipped.
    Raises DataError where the images lack the label set, and where no image can be read.
    """
    if label_set not in records.labels:
        raise DataError(f"no labels {label_set!r}: --labels may be {', '.join(records.labels)}")
    rng, side = np.random.default_rng(0), (tokens.size, tokens.size)
    small, labels = [], []
    indices = np.unique(np.linspace(0, len(records) - 1, min(most, len(records))).astype(int))
    for index in tqdm(indices, desc="images", unit="images", leave=False, disable=None):
        try:
            example = records[int(index)]
            picture = decode(example.encoded, channels=tokens.channels)
        except BadImage:
            continue
        small.append(resize_center_crop(rng, picture, side, crop_fraction=1.0))
        labels.append(example.labels[label_set])
    if not small:
        raise DataError(f"none of {len(indices)} images can be read: name another --folder")
    return np.stack(small), np.asarray(labels)


def ranking_table(rows: Sequence[Ranked], widths: Sequence[int]) -> str:
    """Return the rows as text, best first, in percent of what all pixels capture.

    'spread' is the largest standard deviation over seeds at any K.
    """
    longest = max(len(row.name) for row in rows)
    heads = "".join(f"{f'K={width}':>8}" for width in widths)
    lines = [f"{'sampler':<{longest}}{'hidden':>9}{heads}{'mean':>8}{'spread':>8}"]
    for row in sorted(rows, key=lambda row: -row.score):
        cells = "".join(f"{100 * value:8.2f}" for value in row.curves.mean(0))
        spread = 100 * row.curves.std(0).max()
        deviation = f"{spread:8.2f}" if len(row.curves) > 1 else ""
        hidden = f"{100 * row.hidden:7.1f} %"
        lines.append(f"{row.name:<{longest}}{hidden}{cells}{100 * row.score:8.2f}{deviation}")
    return "\n".join(lines)
