"""The gallery's numbers: statistics of a sampler's masks, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from maskmim.mask_tools import statistics
from maskmim.mask_tools.gallery.draw import Drawn, View, shape_text

# Groups and distances are taken on as many masks as have about this many tokens.
TOKENS_MEASURED = 200_000
CELLS_TESTED = 256
NONE = "-"


class Facts(NamedTuple):
    """Statistics of the masks of one view; nan where there is nothing to measure.

    hidden:       fewest and most hidden tokens of a mask, of how many.
    hidden_share, predicted_share: means over masks.
    group:        mean tokens of a connected group of seen tokens.
    distance:     mean distance, in tokens, of a token that is not seen to the nearest seen one.
    coverage:     share of masks in which a token is seen: least and most over tokens.
    p_value:      of equal coverage, see `statistics.coverage_p_value`, of blocks of tokens on large
                  grids.
    overlap:      share of seen tokens that two masks have in common; chance: of uniform masks.
    bands:        power at low, middle and high frequencies, white noise 1.
    """

    hidden: tuple[int, int, int]
    hidden_share: float
    predicted_share: float
    group: float
    distance: float
    coverage: tuple[float, float]
    p_value: float
    overlap: float
    chance: float
    bands: tuple[float, float, float]


def facts(view: View) -> Facts:
    """The statistics of a view's masks."""
    seen = view.seen
    flat = seen.reshape(len(seen), -1)
    counts = view.hidden.reshape(len(seen), -1).sum(1)
    share = statistics.coverage(seen)
    measured = seen[flat.any(1)][: max(1, TOKENS_MEASURED // flat.shape[1])]
    group = distance = overlap = np.nan
    if len(measured):
        group = statistics.mean_component_size(measured).mean()
        distances = statistics.mean_hidden_distance(measured)
        distance = np.nanmean(distances) if not np.isnan(distances).all() else np.nan
        overlap = statistics.pairwise_overlap(seen)
    return Facts(
        hidden=(int(counts.min()), int(counts.max()), flat.shape[1]),
        hidden_share=float(view.hidden.mean()),
        predicted_share=float(view.predicted.mean()),
        group=float(group),
        distance=float(distance),
        coverage=(float(share.min()), float(share.max())),
        p_value=statistics.coverage_p_value(statistics.pooled(seen, cells=CELLS_TESTED)),
        overlap=float(overlap),
        chance=float(flat.mean()),
        bands=tuple(map(float, statistics.band_powers(seen))),
    )


COLUMNS = (
    "sampler",
    "grid",
    "asked %",
    "hidden",
    "hidden %",
    "predicted %",
    "group",
    "distance",
    "coverage %",
    "p even",
    "overlap %",
    "low",
    "mid",
    "high",
)
LEGEND = """\
- **asked**: the mask ratio given. **hidden**: tokens whose content is withheld, exact (fewest-most
  where it varies), of all; and their share. **predicted**: share of tokens with an objective.
- **group**: mean tokens of a connected group of seen tokens (2 neighbours in a sequence, 4 in an
  image, 6 in a clip). **distance**: mean distance from a token that is not seen to the nearest seen
  one, in tokens. Seen: visible and not hidden.
- **coverage**: share of masks in which a token is seen, least-most over tokens. **p even**: how
  probable so uneven a coverage is if all tokens are equally likely (Wald's statistic with
  Hotelling's correction, on blocks of tokens where there are more than 256). Informed samplers are
  uneven by design.
- **overlap**: share of seen tokens that two masks have in common; in brackets, what independent
  uniform masks have.
- **low, mid, high**: power of the seen map below 1/6, below 1/3 and above 1/3 of a cycle per token;
  white noise has 1."""


def row_name(drawn: Drawn, place: int) -> str:
    """The sampler's name, with what tells its views apart where it has several."""
    return f"{drawn.sampler.name} [{drawn.labels[place]}]" if drawn.labels else drawn.sampler.name


def cells(drawn: Drawn, place: int, found: Facts) -> tuple[str, ...]:
    """The table's cells of one view of a sampler."""
    least, most, length = found.hidden
    low, high = found.coverage
    return (
        row_name(drawn, place),
        shape_text(drawn.grid),
        percent(drawn.asked),
        f"{span(least, most)} of {length}",
        percent(found.hidden_share),
        percent(found.predicted_share),
        number(found.group),
        number(found.distance),
        f"{100 * low:.1f}-{100 * high:.1f}",
        p_text(found.p_value),
        f"{percent(found.overlap)} ({percent(found.chance)})",
        *(number(band) for band in found.bands),
    )


def table(rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns are also aligned as plain text; numbers to the right."""
    body = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *body, strict=True)]

    def line(row: Sequence[str]) -> str:
        words = [
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(words)} |"

    rule = [
        "-" * width if place < 2 else "-" * (width - 1) + ":" for place, width in enumerate(widths)
    ]
    return "\n".join([line(COLUMNS), line(rule), *map(line, body)])


def span(least: int, most: int) -> str:
    """Two numbers as a range, one where they are equal."""
    return str(least) if least == most else f"{least}-{most}"


def percent(share: float) -> str:
    """A share in percent, without the sign."""
    return NONE if np.isnan(share) else f"{100 * share:.1f}"


def number(value: float) -> str:
    """Three figures, or two decimals of what is below 10."""
    if np.isnan(value):
        return NONE
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def p_text(value: float) -> str:
    """A p value to three decimals."""
    if np.isnan(value):
        return NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"
