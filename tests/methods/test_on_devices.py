"""Batch norms, labels, text and averaged weights: one device and eight train alike."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.running import ROOT, as_tests, environment
from tests.tolerances import REORDERED

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def trained():
    result = subprocess.run(
        [sys.executable, "-m", "tests.methods.on_devices"],
        cwd=ROOT,
        env=environment(**as_tests("--xla_force_host_platform_device_count=8")),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["norms", "labels", "averaged text"])
def test_one_and_eight_devices_train_alike(trained, name):
    found = trained[name]
    assert set(found) == {"1", "8"}
    for part in ("losses", "extra"):
        one, eight = np.array(found["1"][part]), np.array(found["8"][part])
        np.testing.assert_allclose(eight, one, rtol=0, atol=REORDERED * np.abs(one).max())
    assert np.ptp(found["1"]["losses"]) > 1e-3, "nothing was learnt that could differ"
