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
    steps, losses = loss_curve._series(rows, "loss")
    assert steps.tolist() == list(range(1, 21))
    assert np.isfinite(losses).all()
    assert draw_loss_curve(rows).std() > 0


def test_the_running_mean_is_that_of_a_loop():
    values = np.random.default_rng(0).normal(size=130)
    reach = 130 // 40 + 1
    loop = [values[max(0, i - reach) : i + reach + 1].mean() for i in range(130)]
    np.testing.assert_allclose(loss_curve._smooth(values), loop, atol=1e-12)


def test_curves_leave_no_figure_behind():
    import matplotlib.pyplot as plt

    draw_loss_curve(curve_rows(3))
    assert plt.get_fignums() == []
