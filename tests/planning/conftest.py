"""What a process with 8 virtual devices says, made once for the tests of plans."""

import json
import subprocess
import sys

import pytest

from tests.running import ROOT, environment


def on_eight(*arguments):
    """What the process prints."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.planning.on_eight", *arguments],
        cwd=ROOT,
        env=environment(
            XLA_FLAGS="--xla_force_host_platform_device_count=8",
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
    return on_eight()


@pytest.fixture(scope="session")
def largest():
    return on_eight("largest")
