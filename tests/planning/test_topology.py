"""Names of machines, what is refused, and the time that their links take."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from maskmim import errors, plan
from maskmim.planning import topology
from maskmim.planning.chips import chips
from maskmim.planning.collectives import Collective
from maskmim.planning.topology import (
    Topology,
    TopologyError,
    link_seconds,
    load_topology,
    parse_topology,
)
from maskmim.runtime import exits


def test_chips_and_shapes():
    assert parse_topology("v5e:16x16") == (chips()["v5e"], (16, 16))
    assert parse_topology("V5P:4x4x8") == (chips()["v5p"], (4, 4, 8))
    assert parse_topology("h100:16") == (chips()["h100"], (16,))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("v5:2x2", "did you mean v5p"),
        ("tpu:4", "there are a100, h100, h200, v4, v5e, v5p, v6e"),
        ("v5e", "lacks its number of chips"),
        ("v5e:2by2", "lacks its number of chips"),
        ("v5e:4", "v5e has 2 dimensions"),
        ("v5e:2x2x2", "v5e has 2 dimensions"),
        ("v4:4x4", "v4 has 3 dimensions"),
        ("h100:2x4", "h100 has 1 dimension"),
        ("v5e:0x2", "v5e has 2 dimensions"),
        ("v6e:32x32", "a pod of v6e has 256 chips"),
        ("v5e:4x32", "a pod of v5e has 256 chips"),
    ],
)
def test_what_cannot_be_says_what_can(name, says):
    with pytest.raises(TopologyError, match=says):
        parse_topology(name)


def test_every_refusal_of_a_name_shows_the_forms():
    with pytest.raises(TopologyError, match="v5e:16x16; v4, v5p as v5p:4x4x4"):
        parse_topology("v7:1")


def test_without_libtpu_the_command_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(topology.importlib.util, "find_spec", lambda name: None)
    flags = ["--config=configs/colormae.py:tiny", "--topology=v5e:2x2"]
    assert exits.run(plan.main, flags) == errors.USAGE
    assert 'pip install "jax[tpu]==' in capsys.readouterr().err


def test_gpus_in_a_process_whose_devices_are_made(capsys):
    assert len(jax.devices()) < 8
    flags = ["--config=configs/colormae.py:tiny", "--topology=h100:8"]
    assert exits.run(plan.main, flags) == errors.USAGE
    assert "needs 8 CPU devices" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--largest-batch", "--decode-rate=5"])
def test_flags_that_need_a_topology(flag, capsys):
    assert exits.run(plan.main, ["--config=configs/colormae.py:tiny", flag]) == errors.USAGE
    assert "needs --topology" in capsys.readouterr().err


@pytest.mark.parametrize("rate", ["fast", "0", "-3", "inf"])
def test_a_rate_that_is_none(rate):
    with pytest.raises(errors.UserError, match="give images/s of one core"):
        plan.core_rate(None, rate)


def test_which_dimensions_are_rings():
    def wraps(name):
        chip, shape = parse_topology(name)
        return Topology(name, chip, shape, (), 1).wraps

    assert wraps("v5e:16x16") == (True, True)
    assert wraps("v5e:8x16") == (False, True)
    assert wraps("v5e:4x4") == (False, False)
    assert wraps("v5p:4x4x4") == (True, True, True)
    assert wraps("v4:2x4x4") == (False, False, False)


def grid(name, *shape):
    """A topology and a mesh of stand-ins for its devices."""
    chip, dimensions = parse_topology(name)
    places = [SimpleNamespace(coords=(*at, 0), id=i) for i, at in enumerate(np.ndindex(dimensions))]
    if chip.kind == "gpu":
        places = [SimpleNamespace(id=i) for i in range(dimensions[0])]
    mesh = SimpleNamespace(devices=np.array(places, dtype=object))
    return Topology(name, chip, dimensions, places, 1), mesh


def test_link_seconds_of_a_pod_by_hand():
    pod, mesh = grid("v5e:16x16")
    every = Collective("all-reduce", 1_000_000, tuple(range(256)), times=10)
    # 10 times 2 x 255 / 256 of a megabyte, over 4 links of 50 GB/s.
    assert link_seconds([every], pod, mesh) == pytest.approx(10 * 2 * 255 / 256 * 1e6 / 200e9)
    row = Collective("all-gather", 1_000_000, tuple(range(16)), times=1)
    assert link_seconds([row], pod, mesh) == pytest.approx(15 / 16 * 1e6 / 100e9)


def test_link_seconds_of_gpus_within_a_node_and_between_two():
    one, mesh = grid("h100:8")
    node = Collective("all-reduce", 8_000_000, tuple(range(8)), times=1)
    assert link_seconds([node], one, mesh) == pytest.approx(14e6 / 450e9)
    two, mesh = grid("h100:16")
    both = Collective("all-reduce", 8_000_000, tuple(range(16)), times=1)
    # 8 cards of 50 GB/s carry a node's 15 MB together: slower than NVLink's 450 GB/s.
    assert link_seconds([both], two, mesh) == pytest.approx(15e6 / 8 / 50e9)
    across = Collective("all-reduce", 8_000_000, (0, 8), times=1)
    assert link_seconds([across], two, mesh) == pytest.approx(8e6 / 50e9)


def test_chips_are_told_completely():
    for chip in chips().values():
        assert chip.flops > 1e14 and chip.memory > 1e10 and chip.bandwidth > 5e11
        assert chip.link > 1e10 and chip.cpus >= 96
        assert (chip.network > 0) == (chip.kind == "gpu")
    assert chips()["h100"].ridge == pytest.approx(989e12 / 3.35e12)


@pytest.mark.slow
def test_shapes_that_libtpu_refuses():
    pytest.importorskip("libtpu", reason="libtpu, the compiler of TPUs, is not installed")
    with pytest.raises(TopologyError, match=r"libtpu rejects --topology v5e:3x3: Topology layout"):
        load_topology("v5e:3x3")


@pytest.mark.slow
def test_a_single_chip():
    pytest.importorskip("libtpu", reason="libtpu, the compiler of TPUs, is not installed")
    assert [load_topology(name).hosts for name in ("v5e:1x1", "v5p:1x1x1")] == [1, 1]
