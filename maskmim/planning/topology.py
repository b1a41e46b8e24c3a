"""Other machines, `v5e:16x16` or `h100:8`, as devices to compile a step for."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax

from maskmim.config.bricks import did_you_mean
from maskmim.errors import UserError, first_line
from maskmim.planning.chips import Chip, chips
from maskmim.planning.collectives import Collective, usable_links

# Let libtpu load beside another one (a plan only compiles), skip the metadata server (there is
# none), accept any accelerator type (the topology's name decides) and log nothing.
QUIET = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_STDERR_LOG_LEVEL": "4",
    "TPU_MIN_LOG_LEVEL": "4",
}


class TopologyError(UserError, ValueError):
    """A topology that is unknown, or that this machine cannot compile for."""


class Topology(NamedTuple):
    """Accelerators to plan for.

    shape:   chips along each dimension of the torus; (n,) for GPUs.
    devices: what jax compiles for. Compiling for a GPU needs one, so CPU devices stand in for GPUs:
             shardings and collectives are right, memory is an estimate.
    hosts:   machines that the chips belong to.
    """

    name: str
    chip: Chip
    shape: tuple[int, ...]
    devices: Sequence[jax.Device]
    hosts: int

    @property
    def real(self) -> bool:
        """Return whether the chips' own compiler compiles for them."""
        return self.chip.kind == "tpu"

    @property
    def wraps(self) -> tuple[bool, ...]:
        """Return which dimensions of the torus have joined ends.

        v5e and v6e: those of a whole pod, 16; v4 and v5p: all of them, where all are multiples of 4
        (cloud.google.com/tpu/docs/v4 and v5e).
        """
        if len(self.shape) == 3:
            return (all(size % 4 == 0 for size in self.shape),) * 3
        return tuple(size == 16 for size in self.shape)


def parse_topology(text: str) -> tuple[Chip, tuple[int, ...]]:
    """Return the chip and the shape that a name stands for; TopologyError for a wrong name."""
    known = chips()
    name, _, size = text.lower().partition(":")
    if name not in known:
        raise TopologyError(
            f"unknown chip {name!r} in --topology {text}{did_you_mean(name, known)}\n"
            f"{topology_help()}"
        )
    chip = known[name]
    dimensions = 1 if chip.kind == "gpu" else chip.links // 2
    if not re.fullmatch(r"\d+(x\d+)*", size):
        raise TopologyError(f"--topology {text} lacks its number of chips\n{topology_help()}")
    shape = tuple(int(part) for part in size.split("x"))
    if min(shape) < 1 or len(shape) != dimensions:
        raise TopologyError(
            f"--topology {text}: {name} has {dimensions} dimension{'s' * (dimensions > 1)}\n"
            f"{topology_help()}"
        )
    if math.prod(shape) > chip.pod or (dimensions == 2 and max(shape) ** 2 > chip.pod):
        raise TopologyError(f"--topology {text}: a pod of {name} has {chip.pod} chips")
    return chip, shape


def topology_help() -> str:
    """Return how to name a topology, for error messages and --help."""
    known = chips().values()
    flat = ", ".join(chip.name for chip in known if chip.links == 4)
    deep = ", ".join(chip.name for chip in known if chip.links == 6)
    gpus = ", ".join(chip.name for chip in known if chip.kind == "gpu")
    return (
        f"TPUs by the shape of the slice: {flat} as v5e:16x16; {deep} as v5p:4x4x4.\n"
        f"GPUs by their number: {gpus} as h100:8."
    )


def load_topology(text: str) -> Topology:
    """Return the topology with its devices; call it before this process uses any jax device.

    Raises TopologyError for an unknown name, a shape that libtpu rejects, and without libtpu.
    """
    chip, shape = parse_topology(text)
    jax.config.update("jax_platforms", "cpu")
    devices = (
        _cpu_devices(text, shape[0]) if chip.kind == "gpu" else _tpu_devices(text, chip, shape)
    )
    count = math.prod(shape)
    if len(devices) != count:
        raise TopologyError(
            f"--topology {text}: libtpu describes {len(devices)} devices instead of {count}; "
            "choose another shape"
        )
    return Topology(text.lower(), chip, shape, devices, hosts=-(-count // chip.chips))


def _cpu_devices(text: str, count: int) -> Sequence[jax.Device]:
    """Return `count` CPU devices."""
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        if len(jax.devices("cpu")) < count:
            raise TopologyError(
                f"--topology {text} needs {count} CPU devices to stand in for GPUs, but jax "
                f"started with {len(jax.devices('cpu'))} in this process: plan in a new process"
            ) from error
    return jax.devices("cpu")[:count]


def _tpu_devices(text: str, chip: Chip, shape: tuple[int, ...]) -> Sequence[jax.Device]:
    """Return the devices of a TPU slice, one per chip, from libtpu's compiler."""
    if importlib.util.find_spec("libtpu") is None:
        raise TopologyError(
            f"--topology {text} needs the TPU compiler, which runs on any Linux machine: "
            f'pip install "jax[tpu]=={jax.__version__}"'
        )
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from jax.experimental import topologies  # only plans for TPUs need it

    slice_shape = "x".join(map(str, shape))
    options = {"chip_config_name": "megacore"} if chip.links == 6 else {}
    if math.prod(shape) == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        description = topologies.get_topology_desc(f"{chip.name}:{slice_shape}", "tpu", **options)
    except Exception as error:  # libtpu's own, of several classes
        reason = first_line(error).removeprefix("INVALID_ARGUMENT: ")
        raise TopologyError(
            f"libtpu rejects --topology {text}: {reason}\n{topology_help()}"
        ) from error
    return description.devices


def link_seconds(
    collectives: Iterable[Collective], topology: Topology, mesh: jax.sharding.Mesh
) -> float:
    """Return the fewest seconds of a step's collectives, one after another, every link busy.

    TPUs: over all links of the dimensions that a group spans. GPUs: over NVLink; between nodes each
    GPU sends its share of the node's bytes over its own network card at the same time.
    """
    coordinates = [getattr(device, "coords", (device.id,)) for device in mesh.devices.flat]
    return sum(_seconds_of(each, topology, coordinates) * each.times for each in collectives)


def _seconds_of(
    collective: Collective, topology: Topology, coordinates: Sequence[tuple[int, ...]]
) -> float:
    """Return the fewest seconds of one execution."""
    chip, sent = topology.chip, collective.sent
    if chip.kind == "tpu":
        group = [tuple(coordinates[index])[: len(topology.shape)] for index in collective.group]
        return sent / (chip.link * usable_links(group, topology.shape, topology.wraps))
    nodes = {index // chip.chips for index in collective.group}
    gpus_per_node = len(collective.group) / len(nodes)
    between = sent / gpus_per_node / chip.network if len(nodes) > 1 else 0.0
    return max(sent / chip.link if gpus_per_node > 1 else 0.0, between)
