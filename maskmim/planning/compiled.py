"""The real train step, compiled for machines that are not here, and what its program tells."""

from __future__ import annotations

import re
import time
import warnings
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from maskmim.imagenet import TRAIN_IMAGES
from maskmim.models.layers import attention
from maskmim.planning import collectives, cost, hlo, traffic
from maskmim.planning.topology import Topology, TopologyError, link_seconds
from maskmim.training import sharding
from maskmim.training.build import Assembly, assemble, jitted_step

# 'Used 18.1G of 15.75G hbm', 'HLO temporaries (122.02G) exceeds available HBM (15.75G)'
_NEEDED = re.compile(r"(?:Used |temporaries \()([\d.]+)([KMGT])")
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}


class Step(NamedTuple):
    """A compiled train step.

    memory:      bytes of a chip by kind, in the order to be shown.
    collectives: what chips send each other; hbm_bytes: what a chip moves to and from its HBM.
    link_seconds: of all collectives, see `topology.link_seconds`.
    unknown:     loops whose iterations the program does not tell; they count once.
    seconds:     that compiling took.
    """

    memory: dict[str, float]
    collectives: dict[str, collectives.Sum]
    link_seconds: float
    hbm_bytes: int
    unknown: int
    seconds: float

    @property
    def used(self) -> float:
        """Bytes of a chip's memory that the training takes."""
        return sum(self.memory.values())


class TooLarge(NamedTuple):
    """A step that the compiler refused, for lack of memory.

    memory: bytes of a chip by kind, of what is known before compiling.
    needed: bytes that the compiler says it needs; inf where it does not say.
    """

    memory: dict[str, float]
    needed: float
    seconds: float


def bytes_used(step: Step | TooLarge) -> float:
    """Bytes of a chip that a training takes; inf where the compiler only says: too many."""
    return step.used if isinstance(step, Step) else step.needed


def parts_for(config: ConfigDict, topology: Topology) -> Assembly:
    """The parts of a training on a topology, with networks as they are built for accelerators."""
    with attention.for_accelerators():
        return assemble(config, TRAIN_IMAGES, topology.devices)


def compile_step(config: ConfigDict, parts: Assembly, topology: Topology) -> Step | TooLarge:
    """The train step compiled for a topology."""
    state = resident(config, parts)
    step = jitted_step(config, parts)
    batch = cost.batch_shapes(config, config.train.batch_size)
    began = time.perf_counter()
    try:
        with attention.for_accelerators(), warnings.catch_warnings():
            # JAX_COMPILATION_CACHE_DIR cannot give back programs of machines that are not here.
            warnings.filterwarnings("ignore", "Error reading persistent compilation cache")
            program = step.lower(parts.shapes, parts.frozen_shapes, batch).compile()
    except jax.errors.JaxRuntimeError as error:
        if not str(error).startswith("RESOURCE_EXHAUSTED"):
            raise
        return TooLarge(state, needed(str(error)), time.perf_counter() - began)
    seconds = time.perf_counter() - began
    read = hlo.parse(text_of(program))
    runs = hlo.executed(read)
    sent = collectives.find(read, runs, parts.mesh.size)
    return Step(
        _memory(state, program.memory_analysis(), topology),
        collectives.summed(sent),
        link_seconds(sent, topology, parts.mesh),
        traffic.hbm_bytes(read, runs),
        runs.unknown,
        seconds,
    )


def text_of(program: jax.stages.Compiled) -> str:
    """The text of a compiled program; TopologyError where jax cannot read its compiler's output."""
    try:
        return program.as_text()
    except jax.errors.JaxRuntimeError as error:
        raise TopologyError(
            "the step compiled, but this jax cannot read what this libtpu made of it; install the "
            f'libtpu that belongs to this jax: pip install "jax[tpu]=={jax.__version__}"'
        ) from error


def resident(config: ConfigDict, parts: Assembly) -> dict[str, float]:
    """Bytes of a chip that are taken between steps, by kind: the state, frozen arrays, a batch."""
    whole = sharding.replicated(parts.mesh)
    split = sharding.by_example(parts.mesh)
    batch = cost.batch_shapes(config, config.train.batch_size)
    groups = {
        "parameters": (parts.shapes.params, parts.places.params),
        "optimiser": (parts.shapes.opt_state, parts.places.opt_state),
        "extra": (parts.shapes.extra, parts.places.extra),
        "frozen": (parts.frozen_shapes, jax.tree.map(lambda _: whole, parts.frozen_shapes)),
        "batch": (batch, jax.tree.map(lambda _: split, batch)),
    }
    return {name: float(cost.bytes_per_device(*group)) for name, group in groups.items()}


def _memory(
    state: dict[str, float], analysis: jax.stages.CompiledMemoryStats, topology: Topology
) -> dict[str, float]:
    """Bytes of a chip by kind, with what the compiler adds to the state.

    Temporaries of a TPU are those that live at the peak: all of them (`temp_size_in_bytes`) may be
    more than a chip has, as they take the places of donated and of earlier arrays. The peak that is
    told for a CPU is without the arguments.
    """
    given = analysis.argument_size_in_bytes
    at_peak = (
        analysis.peak_memory_in_bytes - given if topology.real else analysis.temp_size_in_bytes
    )
    return state | {
        "next batch": state["batch"],
        "padding": max(0.0, given - sum(state.values())),
        "temporaries": float(max(0, at_peak)),
        "results": float(analysis.output_size_in_bytes - analysis.alias_size_in_bytes),
        "program": float(analysis.generated_code_size_in_bytes),
    }


def needed(message: str) -> float:
    """Bytes that a compiler's refusal says it needs; inf where it does not say."""
    found = _NEEDED.search(message)
    return float(found.group(1)) * 1024 ** _POWERS[found.group(2)] if found else float("inf")
