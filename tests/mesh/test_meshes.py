"""One device and eight, however they are used, train alike."""

import json
import subprocess
import sys

import numpy as np
import pytest

from maskmim.sharding import ShardingError, check_batch, make_mesh, transformer, tree_shardings
from tests.running import ROOT, environment
from tests.tolerances import REORDERED

CASES = {
    "one": {"sizes": {"data": 1, "fsdp": 1, "tensor": 1}},
    "data": {"sizes": {"data": 8, "fsdp": 1, "tensor": 1}},
    "fsdp": {"sizes": {"data": 1, "fsdp": 8, "tensor": 1}},
    "mixed": {"sizes": {"data": 2, "fsdp": 2, "tensor": 2}, "micro_batches": 2},
}


@pytest.fixture(scope="module")
def trained():
    result = subprocess.run(
        [sys.executable, "-m", "tests.mesh.losses", json.dumps(CASES)],
        cwd=ROOT,
        env=environment(XLA_FLAGS="--xla_force_host_platform_device_count=8"),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("mesh", ["data", "fsdp", "mixed"])
def test_same_losses_over_20_steps(trained, mesh):
    np.testing.assert_allclose(
        trained[mesh]["losses"], trained["one"]["losses"], rtol=REORDERED, atol=0
    )
    assert trained["one"]["losses"][-1] < trained["one"]["losses"][0] - 0.05


def test_the_state_is_split_where_it_should_be_and_the_step_traced_once(trained):
    assert trained["one"]["split"] == trained["data"]["split"] == 0
    assert trained["fsdp"]["split"] > 20 and trained["mixed"]["split"] > 20
    assert {case["traces"] for case in trained.values()} == {1}


def test_a_parameter_that_no_rule_matches_is_an_error():
    mesh = make_mesh({"data": -1, "fsdp": 1, "tensor": 1})
    with pytest.raises(ShardingError, match="odd/thing"):
        tree_shardings({"odd": {"thing": np.zeros((2, 2))}}, transformer(), mesh)


def test_a_batch_that_does_not_divide_names_one_that_does():
    mesh = make_mesh({"data": -1, "fsdp": 1, "tensor": 1})
    with pytest.raises(ShardingError, match="multiple of 3, for example 9"):
        check_batch(mesh, 10, 3)
