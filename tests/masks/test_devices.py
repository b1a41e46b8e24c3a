"""Masks are the same on one device and on eight."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tests.masks.draw_on_devices import visible_of_all
from tests.running import ROOT, as_tests, environment

pytestmark = pytest.mark.full

SOME = ["uniform.", "colour.green", "colour.red", "bank.", "blocks.beit", "spread_blue.", "units."]


@pytest.mark.parametrize("prefixes", [SOME, pytest.param([], marks=pytest.mark.slow)])
def test_one_and_eight_devices_draw_the_same_masks(prefixes, tmp_path):
    subprocess.run(
        [sys.executable, "-m", "tests.masks.draw_on_devices", str(tmp_path / "8.npz"), *prefixes],
        check=True,
        env=environment(**as_tests("--xla_force_host_platform_device_count=8")),
        cwd=ROOT,
        timeout=1500,
    )
    here = visible_of_all(prefixes)
    assert len(here) >= 7
    with np.load(tmp_path / "8.npz", allow_pickle=False) as eight:
        assert eight["devices"] == 8
        for name, visible in here.items():
            np.testing.assert_array_equal(visible, eight[name], err_msg=name)
