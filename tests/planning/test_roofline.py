"""Times and speeds by hand."""

import pytest

from maskmim.planning import roofline
from maskmim.planning.chips import chips

V5E = chips()["v5e"]


def test_a_step_by_hand():
    # 197 TFLOP/s, 819 GB/s.
    found = roofline.step_seconds(V5E, flops=1.97e12, hbm_bytes=16.38e9, link_seconds=0.004)
    assert found == pytest.approx((0.010, 0.020, 0.004))
    assert found.least == pytest.approx(0.020) and found.most == pytest.approx(0.034)
    assert found.slowest == "memory"


def test_speed_at_a_share_of_the_peak():
    # 256 chips at 40 %: 20.17 PFLOP/s; 58 GFLOP an image.
    found = roofline.speed_at(0.4, V5E, 256, flops=58e9, batch=4096)
    assert found.images == pytest.approx(0.4 * 197e12 * 256 / 58e9)
    assert found.seconds == pytest.approx(4096 / found.images)


def test_the_largest_share_is_the_one_of_the_fastest_step():
    share = roofline.max_share(V5E, 256, flops=58e9, batch=4096, least=0.0125)
    step = roofline.speed_at(share, V5E, 256, flops=58e9, batch=4096)
    assert step.seconds == pytest.approx(0.0125)
    assert share == pytest.approx(58e9 * 16 / 0.0125 / 197e12)
