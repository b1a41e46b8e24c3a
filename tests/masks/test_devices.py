"""Masks are the same on one device and on eight."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.masks.draw_on_devices import NAMES, visible_of_all


def test_one_and_eight_devices_draw_the_same_masks(tmp_path):
    environment = dict(os.environ, JAX_PLATFORMS="cpu")
    environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
    subprocess.run(
        [sys.executable, "-m", "tests.masks.draw_on_devices", str(tmp_path / "eight.npz")],
        check=True,
        env=environment,
        cwd=Path(__file__).parents[2],
        timeout=300,
    )
    here = visible_of_all()
    with np.load(tmp_path / "eight.npz", allow_pickle=False) as eight:
        assert eight["devices"] == 8
        for name in NAMES:
            np.testing.assert_array_equal(here[name], eight[name], err_msg=name)
