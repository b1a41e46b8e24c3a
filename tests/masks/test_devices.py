"""Masks are the same on one device and on eight."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.masks.draw_on_devices import visible_of_all

SOME = ["uniform.", "colour.green", "colour.red", "bank.", "blocks.beit", "spread_blue.", "units."]


@pytest.mark.parametrize("prefixes", [SOME, pytest.param([], marks=pytest.mark.slow)])
def test_one_and_eight_devices_draw_the_same_masks(prefixes, tmp_path):
    environment = dict(os.environ, JAX_PLATFORMS="cpu")
    environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
    subprocess.run(
        [sys.executable, "-m", "tests.masks.draw_on_devices", str(tmp_path / "8.npz"), *prefixes],
        check=True,
        env=environment,
        cwd=Path(__file__).parents[2],
        timeout=1500,
    )
    here = visible_of_all(prefixes)
    assert len(here) >= 7
    with np.load(tmp_path / "8.npz", allow_pickle=False) as eight:
        assert eight["devices"] == 8
        for name, visible in here.items():
            np.testing.assert_array_equal(visible, eight[name], err_msg=name)
