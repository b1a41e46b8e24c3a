"""The learning rate that drops in steps, against the official rule written out."""

from bisect import bisect_right

import numpy as np
import pytest

from maskmim.schedules.multistep import warmup_multistep
from maskmim.schedules.warmup import ScheduleError, Span


def test_follows_the_official_rule():
    """Compare with a linear rise, then the peak times a factor for each milestone passed."""
    span, drops = Span(80, 8.0), (5.0, 7.5)
    schedule = warmup_multistep(span, warmup_epochs=2.0, drops=drops, factor=0.1, start=0.005)
    milestones = [round(drop * 8) for drop in drops]
    expected = [
        0.005 + step * (1 - 0.005) / 16 if step < 16 else 0.1 ** bisect_right(milestones, step)
        for step in range(80)
    ]
    np.testing.assert_allclose([schedule(step) for step in range(80)], expected, rtol=1e-6)


@pytest.mark.parametrize("drops", [(1.0,), (7.0, 5.0)])
def test_drops_come_in_order_after_the_warmup(drops):
    with pytest.raises(ScheduleError, match=r"schedule\.drops"):
        warmup_multistep(Span(80, 8.0), warmup_epochs=2.0, drops=drops)
