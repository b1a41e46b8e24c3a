"""What processes with 8 virtual devices say, each made once for the one file that asks."""

import json
import subprocess
import sys

import pytest

from tests.running import ROOT, as_tests, environment


def on_eight(word):
    """What the process prints of that."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.planning.on_eight", word],
        cwd=ROOT,
        env=environment(
            **as_tests("--xla_force_host_platform_device_count=8"),
            COLUMNS="120",  # tables side by side, wherever the tests run
        ),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="session")
def eight():
    return on_eight("collectives")


@pytest.fixture(scope="session")
def plans():
    return on_eight("plans")


@pytest.fixture(scope="session")
def largest():
    return on_eight("largest")
