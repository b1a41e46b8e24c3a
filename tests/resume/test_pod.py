"""One CPU device reads a checkpoint sharded over 8, without the optimiser's arrays."""

import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from maskmim import evaluate
from maskmim.checkpoints.load_run import load_trained
from maskmim.checkpoints.workdir import load_config
from maskmim.config.load import override
from maskmim.evals import evaluation
from tests.resume.pod import values
from tests.running import ROOT, as_tests, environment

pytestmark = pytest.mark.full


def test_a_checkpoint_of_a_pod_is_read_by_one_device(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    workdir = tmp_path / "run"
    flags = "--xla_force_host_platform_device_count=8"
    written = subprocess.run(
        [sys.executable, "-m", "tests.resume.pod", str(workdir)],
        env=environment(**as_tests(flags)),
        capture_output=True,
        text=True,
        check=False,
    )
    printed = re.match(r"8 devices, (\d+) arrays in parts", written.stdout)
    assert printed and int(printed[1]) > 10, written.stdout + written.stderr
    # The state before training has all that the optimiser keeps: it must not be made.
    monkeypatch.setattr(evaluation, "init_sharded", None)
    config = override(load_config(workdir), ["mesh.fsdp=1"])
    restored = evaluate.restore(config, workdir)
    parts, variables, step = restored.parts, restored.variables, restored.step
    run = load_trained(workdir)
    assert step == run.step == 7 and load_config(workdir).mesh.fsdp == 8
    expected = values(parts.shapes)
    for read in (variables, run.variables):
        jax.tree.map(np.testing.assert_array_equal, read.params, expected.params)
        jax.tree.map(np.testing.assert_array_equal, read.extra, expected.extra)
    assert {leaf.sharding.num_devices for leaf in jax.tree.leaves(variables.params)} == {1}
