"""One device and eight, however they are used, train alike, and talk as little as they should."""

import json
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from maskmim.training.sharding import (
    ShardingError,
    check_batch,
    check_sharers,
    make_mesh,
    transformer,
    tree_shardings,
)
from tests.running import ROOT, as_tests, environment
from tests.tolerances import REORDERED
from tests.training.mesh_cases import QUICK, SLOW

pytestmark = pytest.mark.full

ALL = "fsdp 2 sequence 2 tensor 2"
FLAGS = "--xla_force_host_platform_device_count=8"


def train(*names):
    """What `tests.training.mesh_losses` prints of these cases."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.training.mesh_losses", *names],
        cwd=ROOT,
        env=environment(**as_tests(FLAGS)),
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def trained():
    return train()["quick"]


def check(found):
    """Losses, weights, moments of the optimiser and averaged weights as on the first mesh."""
    for mesh, told in found.items():
        apart = {kind: told[kind] for kind in ("loss", "params", "moments", "extra")}
        assert max(apart.values()) < REORDERED, (mesh, apart)


def test_every_mesh_trains_as_one_device_does_also_after_a_move(trained):
    assert set(trained) == {*QUICK["meshes"], *(" > ".join(move) for move in QUICK["moves"])}
    check(trained)
    losses = trained["one"]["losses"]
    assert abs(losses[-1] - losses[0]) > 100 * REORDERED, "nothing was learnt that could differ"


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_every_method_trains_on_every_mesh_as_on_one_device(name):
    check(train(name)[name])


def test_the_state_is_split_where_it_should_be(trained):
    assert trained["one"]["split"] == 0
    assert trained["fsdp 8"]["split"] > 20 and trained[ALL]["split"] > 20


@pytest.mark.parametrize("part", ["Encoder", "Decoder"])
def test_a_block_costs_what_the_papers_say(trained, part):
    """FSDP gathers each parameter in its layer, Megatron sums twice, Ulysses exchanges 4 times."""
    counted = {
        mesh: Counter(
            ("back" if "transpose(" in op else "forth", kind)
            for kind, _, op in trained[mesh]["collectives"]
            if f"jvp({part})" in op and "/blocks/" in op
        )
        for mesh in ("fsdp 8", ALL)
    }
    gathers = {("forth", "all-gather"): 4, ("back", "all-gather"): 4}
    assert counted["fsdp 8"].items() >= gathers.items()
    assert ("forth", "all-reduce") not in counted["fsdp 8"]
    exchanges = {("forth", "all-to-all"): 4, ("back", "all-to-all"): 4}
    every = gathers | exchanges | {("forth", "all-reduce"): 2}
    assert counted[ALL].items() >= every.items()
    assert not {kind for _, kind in counted[ALL]} & {"collective-permute"}


def test_no_device_gets_the_whole_stream_of_tokens(trained):
    """No gather makes an array of a device's examples and all 17 tokens of the decoder."""
    for mesh in ("fsdp 8", ALL):
        for kind, shapes, op in trained[mesh]["collectives"]:
            sizes = [json.loads(shape[shape.index("[") :]) for shape in shapes]
            if kind == "all-gather":
                assert not any(len(size) > 2 and 17 in size for size in sizes), (mesh, op, sizes)


def test_a_parameter_that_no_rule_matches_is_an_error():
    mesh = make_mesh({"data": -1})
    with pytest.raises(ShardingError, match="odd/thing"):
        tree_shardings({"odd": {"thing": np.zeros((2, 2))}}, transformer(), mesh)


def test_a_batch_that_does_not_divide_names_one_that_does():
    mesh = make_mesh({"data": -1})
    with pytest.raises(ShardingError, match="multiple of 3, for example 9"):
        check_batch(mesh, 10, 3)


def test_devices_that_share_examples_belong_to_one_process():
    devices = np.array([SimpleNamespace(process_index=place // 4) for place in range(8)])
    check_sharers(devices, 4)
    check_sharers(devices.reshape(2, 1, 2, 2), 2)
    with pytest.raises(ShardingError, match=r"8 devices .* processes \[0, 1\]"):
        check_sharers(devices, 1)
