"""The picture of the training loss."""

from __future__ import annotations

import numpy as np
import pytest

from maskmim.reporting import loss_curve
from maskmim.reporting.loss_curve import draw_loss_curve


def curve_rows(count, **more):
    return [{"step": s, "loss": 1.0 / s, "lr": 1e-3 * s, **more} for s in range(1, count + 1)]


@pytest.mark.parametrize("rows", [[], curve_rows(1), curve_rows(2), curve_rows(300)])
def test_loss_curves_of_any_length(rows):
    picture = draw_loss_curve(rows)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.std() > 0


def test_a_curve_shows_probes_in_a_panel_of_their_own():
    rows = curve_rows(20)
    probed = [*rows, {"step": 10, "knn/fine/top1": 0.5}]
    assert draw_loss_curve(probed).shape[0] > draw_loss_curve(rows).shape[0]


def test_a_curve_leaves_out_what_is_missing_or_not_finite():
    rows = [*curve_rows(20), {"step": 21, "loss": None, "lr": 0.01}, {"step": 22, "other": 1.0}]
    steps, losses = loss_curve.series(rows, "loss")
    assert steps.tolist() == list(range(1, 21))
    assert np.isfinite(losses).all()
    assert draw_loss_curve(rows).std() > 0


@pytest.mark.parametrize("count", [6, 39, 40, 130])
def test_the_running_mean_is_of_whole_windows(count):
    """No value at an end is the mean of fewer values than the others."""
    steps, values = 10 * np.arange(count), np.random.default_rng(0).normal(size=count)
    window = loss_curve.mean_window(count)
    middle, means = loss_curve.running_mean(steps, values, window)
    loop = [values[i : i + window].mean() for i in range(count - window + 1)]
    np.testing.assert_allclose(means, loop, atol=1e-12)
    np.testing.assert_array_equal(middle, [steps[i : i + window].mean() for i in range(len(loop))])


def test_the_first_values_do_not_flatten_the_rest():
    steps = np.arange(0, 1400, 10)
    losses = 0.7 - 1e-5 * steps
    losses[:3] = 1.4, 1.1, 0.9
    low, high = loss_curve.loss_range(steps, losses)
    assert low == losses.min() and high < 0.71
    assert (losses[5:] <= high).all()


def test_a_spike_is_in_the_mean_and_named():
    rows = curve_rows(100)
    rows[60]["loss"] = 50.0
    figure = loss_curve.loss_figure(rows)
    title = figure.axes[0].get_title(loc="left")
    assert "up to 50" in title and "above the axis: " in title
    label = figure.axes[0].get_legend().get_texts()[1].get_text()
    assert label == "mean of 5 logged values (5 steps)"
    mean = figure.axes[0].lines[1].get_ydata()
    assert mean.max() > 10


def test_curves_leave_no_figure_behind():
    import matplotlib.pyplot as plt

    draw_loss_curve(curve_rows(3))
    assert plt.get_fignums() == []
