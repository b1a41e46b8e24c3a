"""Removal of cells of a complete table, in the three ways in which real cells go missing."""

from __future__ import annotations

from typing import Literal

import numpy as np

from maskmim.config.ranges import FractionBelowOne

Mechanism = Literal["mcar", "mar", "mnar"]
# The share of columns that lose nothing where the others depend on them.
COMPLETE_SHARE = 0.3
BISECTIONS = 60


def removed_cells(
    rng: np.random.Generator,
    cells: np.ndarray,
    *,
    share: FractionBelowOne,
    mechanism: Mechanism = "mcar",
) -> np.ndarray:
    """Draw which cells of a table f64[n, d] are removed: bool[n, d].

    share:     of the cells of each column that may lose any, in expectation.
    mechanism: 'mcar': any cell, whatever it holds. 'mar': 30 % of the columns, at least one, keep
               all; in each other column a cell is the likelier to go the larger a random linear
               function of them is. 'mnar': a cell is the likelier to go the larger, or in half of
               the columns the smaller, its own value is.
    Cells that are NaN already may be among the removed ones; for the probabilities they stand for
    the mean of their column.
    Source: the three mechanisms of Rubin, by the logistic models of Muzellec et al. (arXiv
    2002.03860), as we recall them; constants are ours.
    """
    chance = np.full(cells.shape, float(share))
    if mechanism != "mcar" and share:
        drive = _drive(rng, standard_scores(cells), mechanism)
        chance = np.stack([_logistic(column, share) for column in drive.T], axis=1)
        chance[:, np.isnan(drive).any(axis=0)] = 0.0
    return rng.random(cells.shape) < chance


def standard_scores(cells: np.ndarray) -> np.ndarray:
    """Return the columns of f64[n, d] with mean 0 and deviation 1, 0 where a cell is NaN."""
    deviation = np.nanstd(cells, axis=0)
    scores = (cells - np.nanmean(cells, axis=0)) / np.where(deviation > 0, deviation, 1.0)
    return np.nan_to_num(scores)


def _drive(rng: np.random.Generator, scores: np.ndarray, mechanism: Mechanism) -> np.ndarray:
    """Return what makes cells go, f64[n, d] of deviation 1; NaN in columns that lose nothing."""
    columns = scores.shape[1]
    if mechanism == "mnar":
        return scores * rng.choice([-1.0, 1.0], columns)
    complete = rng.permutation(columns)[: max(1, round(COMPLETE_SHARE * columns))]
    drive = scores[:, complete] @ rng.standard_normal((len(complete), columns))
    drive = standard_scores(drive)
    drive[:, complete] = np.nan
    return drive


def _logistic(drive: np.ndarray, share: float) -> np.ndarray:
    """Return 1 / (1 + exp(-(drive + c))) with the c that makes its mean the share."""
    low, high = -50.0, 50.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        mean = np.mean(1 / (1 + np.exp(-(drive + middle))))
        low, high = (middle, high) if mean < share else (low, middle)
    return 1 / (1 + np.exp(-(drive + low)))
