"""The real train step, compiled for other machines: its memory, collectives and HBM traffic."""

from __future__ import annotations

import re
import time
import warnings
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from maskmim.imagenet import TRAIN_IMAGES
from maskmim.models.layers import machine
from maskmim.planning import collectives, cost, hlo, traffic
from maskmim.planning.topology import Topology, TopologyError, link_seconds
from maskmim.training import sharding
from maskmim.training.build import Assembly, assemble, jitted_step

# 'Used 18.1G of 15.75G hbm', 'HLO temporaries (122.02G) exceeds available HBM (15.75G)'
_NEEDED = re.compile(r"(?:Used |temporaries \()([\d.]+)([KMGT])")
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}


class CompiledStep(NamedTuple):
    """A compiled train step.

    memory:       bytes of a chip by kind, in the order to print.
    collectives:  what chips send each other, by kind.
    link_seconds: of all collectives, see `topology.link_seconds`.
    hbm_bytes:    what a chip moves to and from its HBM.
    unknown:      loops whose number of iterations the program does not state; they count once.
    seconds:      time taken to compile.
    """

    memory: dict[str, float]
    collectives: dict[str, collectives.KindTotal]
    link_seconds: float
    hbm_bytes: int
    unknown: int
    seconds: float

    @property
    def used(self) -> float:
        """Return the bytes of a chip's memory that the training uses."""
        return sum(self.memory.values())


class TooLarge(NamedTuple):
    """A step that the compiler rejected for lack of memory.

    memory:  bytes of a chip by kind, as far as known before compiling.
    needed:  bytes that the compiler reports to need; inf where it does not report them.
    seconds: time taken to compile.
    """

    memory: dict[str, float]
    needed: float
    seconds: float


def bytes_used(step: CompiledStep | TooLarge) -> float:
    """Return the bytes of a chip that a training uses; inf where they are only known not to fit."""
    return step.used if isinstance(step, CompiledStep) else step.needed


def assemble_for(config: ConfigDict, topology: Topology) -> Assembly:
    """Assemble a training on a topology, with networks as built for accelerators."""
    with machine.assume_accelerators():
        return assemble(config, TRAIN_IMAGES, topology.devices)


def compile_step(
    config: ConfigDict, parts: Assembly, topology: Topology, *, effort: float = 0.0
) -> CompiledStep | TooLarge:
    """Compile the train step for a topology.

    effort: of the compiler to make the step fast, -1.0 for the least: it takes a third of the time,
            and moves more bytes; a ViT-L needed 0.7 % more memory.
    """
    resident = resident_bytes(config, parts)
    step = jitted_step(config, parts)
    batch = cost.batch_shapes(config, config.train.batch_size)
    began = time.perf_counter()
    try:
        with machine.assume_accelerators(), warnings.catch_warnings():
            # JAX_COMPILATION_CACHE_DIR cannot load programs of other machines.
            warnings.filterwarnings("ignore", "Error reading persistent compilation cache")
            lowered = step.lower(parts.shapes, parts.frozen_shapes, batch)
            options = {"exec_time_optimization_effort": effort} if effort else None
            program = lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        if not str(error).startswith("RESOURCE_EXHAUSTED"):
            raise
        return TooLarge(resident, bytes_needed(str(error)), time.perf_counter() - began)
    seconds = time.perf_counter() - began
    instructions = hlo.parse_program(program_text(program))
    executions = hlo.count_executions(instructions)
    sent = collectives.find_collectives(instructions, executions, parts.mesh.size)
    return CompiledStep(
        _memory_by_kind(resident, program.memory_analysis(), topology),
        collectives.sum_by_kind(sent),
        link_seconds(sent, topology, parts.mesh),
        traffic.hbm_bytes(instructions, executions),
        executions.unknown,
        seconds,
    )


def program_text(program: jax.stages.Compiled) -> str:
    """Return a compiled program's text; TopologyError where jax cannot read it."""
    try:
        return program.as_text()
    except jax.errors.JaxRuntimeError as error:
        raise TopologyError(
            "the step compiled, but this jax cannot read the output of this libtpu; install the "
            f'libtpu that belongs to this jax: pip install "jax[tpu]=={jax.__version__}"'
        ) from error


def resident_bytes(config: ConfigDict, parts: Assembly) -> dict[str, float]:
    """Return the bytes of a chip in use between steps, by kind: state, frozen arrays, a batch."""
    replicated = sharding.replicated(parts.mesh)
    split = sharding.by_example(parts.mesh)
    batch = cost.batch_shapes(config, config.train.batch_size)
    groups = {
        "parameters": (parts.shapes.params, parts.shardings.params),
        "optimiser": (parts.shapes.opt_state, parts.shardings.opt_state),
        "extra": (parts.shapes.extra, parts.shardings.extra),
        "frozen": (parts.frozen_shapes, jax.tree.map(lambda _: replicated, parts.frozen_shapes)),
        "batch": (batch, jax.tree.map(lambda _: split, batch)),
    }
    return {name: float(cost.bytes_per_device(*group)) for name, group in groups.items()}


def _memory_by_kind(
    resident: dict[str, float], analysis: jax.stages.CompiledMemoryStats, topology: Topology
) -> dict[str, float]:
    """Add to the resident bytes of a chip what the compiler reports, by kind.

    Temporaries of a TPU are those alive at the peak: all of them (`temp_size_in_bytes`) may exceed
    a chip's memory, since they reuse the memory of donated and earlier arrays. The peak that a CPU
    reports excludes the arguments.
    """
    arguments = analysis.argument_size_in_bytes
    temporaries = (
        analysis.peak_memory_in_bytes - arguments if topology.real else analysis.temp_size_in_bytes
    )
    return resident | {
        "next batch": resident["batch"],
        "padding": max(0.0, arguments - sum(resident.values())),
        "temporaries": float(max(0, temporaries)),
        "results": float(analysis.output_size_in_bytes - analysis.alias_size_in_bytes),
        "program": float(analysis.generated_code_size_in_bytes),
    }


def bytes_needed(message: str) -> float:
    """Return the bytes needed according to a compiler's error; inf where it does not state them."""
    match = _NEEDED.search(message)
    return float(match.group(1)) * 1024 ** _POWERS[match.group(2)] if match else float("inf")
