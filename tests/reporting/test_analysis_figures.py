"""Figures of what is measured block by block: they are pictures, and follow the numbers."""

import numpy as np
import pytest

from maskmim.reporting import analysis_figures
from maskmim.reporting.analysis_figures import (
    draw_heads,
    draw_lines,
    draw_similarities,
    draw_spectra,
)

HEADS = np.random.default_rng(0).uniform(5, 40, (3, 4))
SPECTRA = [np.geomspace(9, last, 20) for last in (1e-2, 1e-4)]
DRAWN = {
    "lines": lambda scale: draw_lines(
        (0, 1, 5), {"fine": scale * np.arange(3), "coarse": np.ones(3)}, x="block", y="%", title=""
    ),
    "spectra": lambda scale: draw_spectra((0, 1), SPECTRA, {"rank": scale * np.array([3.0, 9.0])}),
    "zero spectra": lambda scale: draw_spectra((0,), [np.zeros(4)], {"rank": np.array([scale])}),
    "similarities": lambda scale: draw_similarities(scale * np.eye(2, 5), "here", "there", ""),
    "heads": lambda scale: draw_heads((0, 1, 2), scale * HEADS, 20.0, y="pixels", title=""),
}


@pytest.mark.parametrize("numbers", [(1,), (0, 1), (2, 3, 4)])
def test_ticks_are_at_whole_numbers(numbers, monkeypatch):
    monkeypatch.setattr(analysis_figures, "render_figure", lambda figure: figure)
    values = {"fine": np.ones(len(numbers))}
    (axis,) = draw_lines(numbers, values, x="block", y="%", title="").axes
    low, high = axis.get_xlim()
    ticks = [tick for tick in axis.get_xticks() if low <= tick <= high]
    assert ticks == list(numbers)


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_a_picture_of_its_numbers(name):
    first, other = DRAWN[name](1.0), DRAWN[name](0.7)
    assert first.dtype == np.uint8 and first.ndim == 3 and first.shape[2] == 3
    assert min(first.shape[:2]) > 200 and first.std() > 10
    assert first.shape == other.shape and (first != other).any()
    np.testing.assert_array_equal(first, DRAWN[name](1.0))
