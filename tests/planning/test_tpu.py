"""The real train step compiled for TPUs, where libtpu is installed."""

import jax
import pytest

from maskmim.config.load import load
from maskmim.planning import compiled
from maskmim.planning.cost import count_parameters
from maskmim.planning.topology import load_topology

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tpu():
    pytest.importorskip("libtpu", reason="libtpu, the compiler of TPUs, is not installed")
    return load_topology("v5e:2x2")


def stepped(tpu, *changes):
    config = load("configs/colormae.py:tiny", changes)
    parts = compiled.assemble_for(config, tpu)
    return parts, compiled.compile_step(config, parts, tpu)


def test_this_machine_stays_what_it_is(tpu):
    assert len(tpu.devices) == 4 and tpu.devices[0].platform == "tpu"
    assert {device.platform for device in jax.devices()} == {"cpu"}


def test_gradients_of_a_data_parallel_step(tpu):
    parts, step = stepped(tpu)
    weights = 4 * count_parameters(parts.shapes.params)
    assert set(step.collectives) == {"all-reduce"}
    reduced = step.collectives["all-reduce"]
    assert reduced.payload == pytest.approx(weights, rel=0.01)
    assert reduced.sent == pytest.approx(2 * 3 / 4 * weights, rel=0.01)
    assert step.unknown == 0


def test_bfloat16_models_send_half_as_much(tpu):
    parts, step = stepped(tpu, "model.compute.dtype=bfloat16")
    weights = count_parameters(parts.shapes.params)
    # All but norms, whose parameters are used in float32.
    assert 2 * weights < step.collectives["all-reduce"].payload < 2.5 * weights


def test_memory_of_a_step(tpu):
    parts, step = stepped(tpu)
    weights = 4 * count_parameters(parts.shapes.params)
    assert step.memory["parameters"] == weights
    assert step.memory["optimiser"] == pytest.approx(2 * weights, abs=64)
    assert step.memory["batch"] == 16 / 4 * 32 * 32 * 3
    assert step.used < tpu.chip.memory / 100
    # A step reads and writes weights and moments at least once.
    assert step.hbm_bytes > 6 * weights


def test_split_weights(tpu):
    _, whole = stepped(tpu)
    _, split = stepped(tpu, "mesh.data=1", "mesh.fsdp=4")
    assert split.memory["parameters"] < 0.4 * whole.memory["parameters"]
    assert split.collectives["all-gather"].count > 0


def test_more_micro_batches_need_fewer_temporaries(tpu):
    sizes = ("train.batch_size=512", "model.compute.remat=none")
    _, whole = stepped(tpu, *sizes)
    _, parted = stepped(tpu, *sizes, "train.micro_batches=8")
    assert parted.memory["temporaries"] < 0.5 * whole.memory["temporaries"]


def test_a_step_that_is_too_large_says_how_much_it_needs(tpu):
    _, step = stepped(tpu, "train.batch_size=1048576", "input.size=(64, 64)")
    assert isinstance(step, compiled.TooLarge)
    assert tpu.chip.memory < step.needed < 1000 * tpu.chip.memory
