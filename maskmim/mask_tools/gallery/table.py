"""The gallery's numbers: statistics of a sampler's masks, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from maskmim.mask_tools import statistics
from maskmim.mask_tools.gallery.draw import DrawnSampler, MaskMaps, grid_text

# Groups and distances are measured on as many masks as have about this many tokens.
TOKENS_MEASURED = 200_000
CELLS_TESTED = 256
NONE = "-"


class MaskStatistics(NamedTuple):
    """Statistics of the masks of one view; nan where there is nothing to measure.

    hidden:       fewest and most hidden tokens of a mask, and the number of tokens.
    hidden_share, predicted_share: means over masks.
    group:        mean number of tokens of a connected group of seen tokens.
    distance:     mean distance, in tokens, of a token that is not seen to the nearest seen one.
    coverage:     share of masks in which a token is seen: least and most over tokens.
    p_value:      of equal coverage, see `statistics.coverage_p_value`; of blocks of tokens on large
                  grids.
    overlap:      share of seen tokens that two masks have in common.
    chance:       the same of independent uniform masks.
    bands:        power at low, middle and high frequencies; white noise has 1.
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


def measure_masks(view: MaskMaps) -> MaskStatistics:
    """Measure the masks of a view."""
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
    return MaskStatistics(
        hidden=(int(counts.min()), int(counts.max()), flat.shape[1]),
        hidden_share=float(view.hidden.mean()),
        predicted_share=float(view.predicted.mean()),
        group=float(group),
        distance=float(distance),
        coverage=(float(share.min()), float(share.max())),
        p_value=statistics.coverage_p_value(statistics.pool(seen, cells=CELLS_TESTED)),
        overlap=float(overlap),
        chance=float(flat.mean()),
        bands=tuple(map(float, statistics.band_powers(seen))),
    )


COLUMNS = (
    "sampler",
    "grid",
    "ratio %",
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
- **ratio**: the mask ratio given. **hidden**: number of tokens whose content is withheld
  (fewest-most where it varies) of all tokens, and their share. **predicted**: share of tokens with
  an objective.
- **group**: mean number of tokens of a connected group of seen tokens (2 neighbours in a sequence,
  4 in an image, 6 in a clip). **distance**: mean distance from a token that is not seen to the
  nearest seen one, in tokens. Seen: visible and not hidden.
- **coverage**: share of masks in which a token is seen, least-most over tokens. **p even**:
  probability of a coverage at least this uneven if all tokens are equally likely (Wald's statistic
  with Hotelling's correction, on blocks of tokens where there are more than 256 tokens). Informed
  samplers are uneven by design.
- **overlap**: share of seen tokens that two masks have in common; in brackets, the same of
  independent uniform masks.
- **low, mid, high**: power of the seen map below 1/6, below 1/3 and above 1/3 of a cycle per token;
  white noise has 1."""


def row_name(drawn: DrawnSampler, view: int) -> str:
    """Return the sampler's name, with the label of the view where it has several."""
    return f"{drawn.sampler.name} [{drawn.labels[view]}]" if drawn.labels else drawn.sampler.name


def table_cells(drawn: DrawnSampler, view: int, measured: MaskStatistics) -> tuple[str, ...]:
    """Return the table's cells of one view of a sampler."""
    least, most, length = measured.hidden
    low, high = measured.coverage
    return (
        row_name(drawn, view),
        grid_text(drawn.grid),
        percent_text(drawn.ratio),
        f"{range_text(least, most)} of {length}",
        percent_text(measured.hidden_share),
        percent_text(measured.predicted_share),
        number_text(measured.group),
        number_text(measured.distance),
        f"{100 * low:.1f}-{100 * high:.1f}",
        p_text(measured.p_value),
        f"{percent_text(measured.overlap)} ({percent_text(measured.chance)})",
        *(number_text(power) for power in measured.bands),
    )


def markdown_table(rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, aligned as plain text too, with numbers to the right."""
    body = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *body, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"

    rule = [
        "-" * width if column < 2 else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    ]
    return "\n".join([line(COLUMNS), line(rule), *map(line, body)])


def range_text(least: int, most: int) -> str:
    """Return two numbers as a range, or as one number where they are equal."""
    return str(least) if least == most else f"{least}-{most}"


def percent_text(share: float) -> str:
    """Return a share in percent, without the sign."""
    return NONE if np.isnan(share) else f"{100 * share:.1f}"


def number_text(value: float) -> str:
    """Return a number with three figures, or two decimals below 10."""
    if np.isnan(value):
        return NONE
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def p_text(value: float) -> str:
    """Return a p-value with three decimals."""
    if np.isnan(value):
        return NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"
