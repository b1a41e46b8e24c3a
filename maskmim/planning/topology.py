"""Machines that are not here: `v5e:16x16` or `h100:8` as devices to compile a step for."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax

from maskmim.config.bricks import did_you_mean
from maskmim.errors import UserError
from maskmim.planning.chips import Chip, chips
from maskmim.planning.collectives import Collective, links

# libtpu loads beside another one (a plan only compiles), asks no metadata server (there is none),
# takes any accelerator type (the topology's name decides) and keeps its log to itself.
QUIET = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_STDERR_LOG_LEVEL": "4",
    "TPU_MIN_LOG_LEVEL": "4",
}


class TopologyError(UserError, ValueError):
    """A topology that is not known, or that cannot be had on this machine."""


class Topology(NamedTuple):
    """Accelerators to plan for.

    shape:   chips along each dimension of the torus; (n,) for GPUs.
    devices: what jax compiles for. Of GPUs, which need one to compile, they are CPU devices that
             stand for them: places of arrays and collectives are right, memory is an estimate.
    hosts:   machines that feed them.
    """

    name: str
    chip: Chip
    shape: tuple[int, ...]
    devices: Sequence[jax.Device]
    hosts: int

    @property
    def real(self) -> bool:
        """Whether programs are compiled for these chips by their own compiler."""
        return self.chip.kind == "tpu"

    @property
    def wraps(self) -> tuple[bool, ...]:
        """Dimensions of the torus whose ends are joined.

        v5e and v6e: those of a whole pod, 16; v4 and v5p: all of them, where all are multiples of 4
        (cloud.google.com/tpu/docs/v4 and v5e).
        """
        if len(self.shape) == 3:
            return (all(size % 4 == 0 for size in self.shape),) * 3
        return tuple(size == 16 for size in self.shape)


def parse(text: str) -> tuple[Chip, tuple[int, ...]]:
    """The chip and the shape of a name; TopologyError where there is none such."""
    known = chips()
    name, _, size = text.lower().partition(":")
    if name not in known:
        raise TopologyError(
            f"unknown chip {name!r} in --topology {text}{did_you_mean(name, known)}\n{forms()}"
        )
    chip = known[name]
    dimensions = 1 if chip.kind == "gpu" else chip.links // 2
    if not re.fullmatch(r"\d+(x\d+)*", size):
        raise TopologyError(f"--topology {text} lacks its number of chips\n{forms()}")
    shape = tuple(int(part) for part in size.split("x"))
    if min(shape) < 1 or len(shape) != dimensions:
        raise TopologyError(
            f"--topology {text}: {name} has {dimensions} dimension{'s' * (dimensions > 1)}\n"
            f"{forms()}"
        )
    if math.prod(shape) > chip.pod or (dimensions == 2 and max(shape) ** 2 > chip.pod):
        raise TopologyError(f"--topology {text}: a pod of {name} has {chip.pod} chips")
    return chip, shape


def forms() -> str:
    """The topologies that there are, for error messages and --help."""
    known = chips().values()
    flat = ", ".join(chip.name for chip in known if chip.links == 4)
    deep = ", ".join(chip.name for chip in known if chip.links == 6)
    gpus = ", ".join(chip.name for chip in known if chip.kind == "gpu")
    return (
        f"TPUs by the shape of their slice: {flat} as v5e:16x16; {deep} as v5p:4x4x4.\n"
        f"GPUs by their number: {gpus} as h100:8."
    )


def lay_out(text: str) -> Topology:
    """The devices of a topology. Must come before this process uses any device of jax.

    Raises TopologyError for an unknown name, a shape that libtpu refuses, and without libtpu.
    """
    chip, shape = parse(text)
    jax.config.update("jax_platforms", "cpu")
    devices = _assumed(text, shape[0]) if chip.kind == "gpu" else _tpus(text, chip, shape)
    count = math.prod(shape)
    if len(devices) != count:
        raise TopologyError(f"--topology {text}: libtpu makes {len(devices)} devices of it")
    return Topology(text.lower(), chip, shape, devices, hosts=-(-count // chip.chips))


def _assumed(text: str, count: int) -> Sequence[jax.Device]:
    """So many CPU devices."""
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        if len(jax.devices("cpu")) < count:
            raise TopologyError(
                f"--topology {text} needs {count} CPU devices to stand for GPUs, but this process "
                f"has made its {len(jax.devices('cpu'))} already: run it as a command of its own"
            ) from error
    return jax.devices("cpu")[:count]


def _tpus(text: str, chip: Chip, shape: tuple[int, ...]) -> Sequence[jax.Device]:
    """Devices of a TPU slice, one a chip, from libtpu's compiler."""
    if importlib.util.find_spec("libtpu") is None:
        raise TopologyError(
            f"--topology {text} needs the compiler of TPUs, which runs on any Linux machine: "
            f'pip install "jax[tpu]=={jax.__version__}"'
        )
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from jax.experimental import topologies  # loads nothing until asked

    wanted = "x".join(map(str, shape))
    options = {"chip_config_name": "megacore"} if chip.links == 6 else {}
    if math.prod(shape) == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        described = topologies.get_topology_desc(f"{chip.name}:{wanted}", "tpu", **options)
    except Exception as error:  # libtpu's own, of several classes
        raise TopologyError(
            f"libtpu refuses --topology {text}: {_sentence(error)}\n{forms()}"
        ) from error
    return described.devices


def _sentence(error: Exception) -> str:
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return text.removeprefix("INVALID_ARGUMENT: ")[:300]


def link_seconds(
    collectives: Iterable[Collective], topology: Topology, mesh: jax.sharding.Mesh
) -> float:
    """Seconds that a step's collectives take at least, one after another, every link busy.

    TPUs: over all links of the dimensions that a group spans. GPUs: over NVLink; between nodes each
    GPU sends its share of the node's bytes over its own network card at the same time.
    """
    places = [getattr(device, "coords", (device.id,)) for device in mesh.devices.flat]
    return sum(_seconds(each, topology, places) * each.times for each in collectives)


def _seconds(each: Collective, topology: Topology, places: Sequence[tuple[int, ...]]) -> float:
    chip = topology.chip
    if chip.kind == "tpu":
        group = [tuple(places[member])[: len(topology.shape)] for member in each.group]
        return each.sent / (chip.link * links(group, topology.shape, topology.wraps))
    nodes = {member // chip.chips for member in each.group}
    beside = len(each.group) / len(nodes)
    between = each.sent / beside / chip.network if len(nodes) > 1 else 0.0
    return max(each.sent / chip.link if beside > 1 else 0.0, between)
