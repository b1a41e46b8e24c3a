"""Show what a config would do and need, without training.

  python -m maskmim.plan --config mae                              # on this machine
  python -m maskmim.plan --config mae --compile                    # and a step: memory, images/s
  python -m maskmim.plan --config mae:variant=L/16 --topology v5e:16x16
  python -m maskmim.plan --config mae --topology h100:8 --largest-batch

Prints the method from tokens to loss, FLOPs per image and the bytes on each device of this machine;
--compile also compiles the train step and times it, and prints its memory and images/s.
--parameters adds a table of the parameters and how they are sharded.

--topology plans for another machine: it compiles the real train step for it and prints the memory
by kind, what chips send each other, a lower bound on the time of a step, images/s at shares of
peak FLOP/s, and the cores needed to decode. TPUs need only their compiler, which runs without one
(pip install "jax[tpu]"); for GPUs memory and traffic are estimates. --largest-batch compiles a few
more times to find the largest batch that fits.
"""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from maskmim import errors
from maskmim.config.command_line import command_line
from maskmim.config.parse import ConfigError
from maskmim.imagenet import TRAIN_IMAGES
from maskmim.models.layers.machine import assume_accelerators
from maskmim.planning import batches, compiled, cost, feeding, report, roofline, summary
from maskmim.planning.topology import Topology, load_topology, topology_help
from maskmim.reporting.progress import format_rows
from maskmim.runtime import activity, exits, processes
from maskmim.training import sharding
from maskmim.training.build import Assembly, assemble

# Share of a batch below which --largest-batch looks no further.
PRECISION = 1 / 32
FLAGS = {
    "compile": "also compile the train step and time it",
    "parameters": "also print every parameter and how it is sharded",
    "largest-batch": "with --topology: find the largest batch that fits",
}
OPTIONS = {
    "topology": f"NAME: machines to plan for. {topology_help()}",
    "decode-rate": "RATE: images/s that a core decodes and augments; default: measured here",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    with activity.during("reading the config"):
        options = command_line(
            argv, description=__doc__, workdir=False, flags=FLAGS, options=OPTIONS
        )
    if options.topology:
        return plan_for_topology(options.config, options)
    for name in ("largest_batch", "decode_rate"):
        if getattr(options, name):
            raise ConfigError(f"--{name.replace('_', '-')} needs --topology: {topology_help()}")
    return plan_for_this_machine(options.config, options)


def plan_for_this_machine(config: ConfigDict, options: Namespace) -> int:
    """Print the plan for this machine's devices."""
    processes.check_devices()
    with activity.during("building the method and counting FLOPs"):
        parts = assemble(config, TRAIN_IMAGES)
        rows = [*summary.method_rows(config, parts), *summary.model_rows(config, parts)]
    rows += [summary.batch_row(config), *summary.device_rows(parts)]
    processes.print_once(format_rows("Plan", rows))
    if options.parameters:
        print_shardings(parts)
    step = None
    if options.compile:
        with activity.during("compiling the train step"):
            step = cost.compile_step(config, parts)
    memory = summary.memory_rows(parts, cost.step_memory(step) if step else None)
    processes.print_once("\n" + format_rows("Bytes on each device", memory))
    if step is None:
        processes.print_once("\n--compile adds the memory of a step, and images/s on this machine.")
    else:
        print_speed(config, parts, step)
    return errors.DONE


def print_speed(config: ConfigDict, parts: Assembly, step: jax.stages.Compiled) -> None:
    """Time a compiled step on this machine and print images/s."""
    data = feeding.training_set(config)
    try:
        with activity.during("timing a step"):
            seconds = cost.step_seconds(config, parts, step)
    except jax.errors.JaxRuntimeError as error:
        processes.print_once(f"\nA step does not run here: {errors.first_line(error)}")
        return
    rows = summary.speed_rows(config, data, seconds)
    processes.print_once("\n" + format_rows("Speed on this machine", rows))


def print_shardings(parts: Assembly) -> None:
    """Print the parameters and how each is sharded."""
    rows = summary.sharding_rows(parts)
    processes.print_once("\n" + format_rows("Parameters and shardings", rows))


def plan_for_topology(config: ConfigDict, options: Namespace) -> int:
    """Print the plan for a topology."""
    topology = load_topology(options.topology)
    processes.check_devices()
    rate, data = core_rate(config, options.decode_rate), feeding.training_set(config)
    with activity.during("building the method and counting FLOPs"):
        parts = compiled.assemble_for(config, topology)
        demand = flops_per_image(config, parts)
    method = summary.method_rows(config, parts)
    model = summary.model_rows(config, parts, demand.xla)
    machine = report.machine_rows(topology, parts.mesh.shape)
    rows = [*method, *model, summary.batch_row(config), *machine]
    processes.print_once(format_rows("Plan", rows))
    if options.parameters:
        print_shardings(parts)
    with activity.during("compiling the train step, which takes minutes for a large model"):
        step = compiled.compile_step(config, parts, topology)
    processes.print_once(f"\n{report.memory_table(step, topology)}")
    most = None
    if isinstance(step, compiled.CompiledStep):
        bounds = find_bounds(config, topology, step, demand)
        most = bounds.speeds[-1]
        tables = time_tables(config, topology, step, demand, bounds, rate, data)
        processes.print_once(f"\n{tables}")
    if options.largest_batch:
        processes.print_once(f"\n{find_largest_batch(config, parts, topology, step)}")
    short = report.short_rows(step, topology, most, rate, config.train.epochs, data)
    processes.print_once("\n" + format_rows("In short", short))
    return errors.DONE


def flops_per_image(config: ConfigDict, parts: Assembly) -> report.Demand:
    """Count the FLOPs of an image with networks as built for accelerators."""
    with assume_accelerators():
        return report.Demand(
            xla=cost.train_flops_per_example(config, parts),
            products=cost.product_flops_per_example(config, parts),
            repeated=cost.product_flops_per_example(config, parts, repeats=True),
        )


def core_rate(config: ConfigDict, text: str | None) -> feeding.Rate:
    """Return the images/s of one core, measured here where text is None.

    Raises ConfigError for text that is not a positive number.
    """
    if text is None:
        return feeding.decode_rate(config)
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise ConfigError(f"--decode-rate {text}: give images/s of one core, as 600")
    return feeding.Rate(rate, "as given")


class Bounds(NamedTuple):
    """The least times of a step, and speeds at shares of the peak: the last one is the highest."""

    times: roofline.StepSeconds
    speeds: list[roofline.Speed]


def find_bounds(
    config: ConfigDict, topology: Topology, step: compiled.CompiledStep, demand: report.Demand
) -> Bounds:
    """Return the bounds of a compiled step on a topology."""
    batch, chips = config.train.batch_size, len(topology.devices)
    times = roofline.step_seconds(
        topology.chip,
        flops=demand.repeated * batch / chips,
        hbm_bytes=step.hbm_bytes,
        link_seconds=step.link_seconds,
    )
    work = {"flops": demand.products, "batch": batch}
    most = roofline.max_share(topology.chip, chips, **work, least=times.least)
    shares = [*(share for share in roofline.SHARES if share < most), most]
    speeds = [roofline.speed_at(share, topology.chip, chips, **work) for share in shares]
    return Bounds(times, speeds)


def time_tables(
    config: ConfigDict,
    topology: Topology,
    step: compiled.CompiledStep,
    demand: report.Demand,
    bounds: Bounds,
    rate: feeding.Rate,
    data: feeding.DataSet,
) -> str:
    """Return the tables of collectives, of a step's least times and of speeds."""
    train, (times, speeds) = config.train, bounds
    most = speeds[-1].share
    return "\n\n".join(
        (
            report.collectives_table(step.collectives, step.unknown, topology.real),
            report.step_time_table(times, demand, step.hbm_bytes, train.batch_size, most),
            report.speed_table(speeds, topology, rate, train.epochs, data),
        )
    )


def find_largest_batch(
    config: ConfigDict,
    parts: Assembly,
    topology: Topology,
    step: compiled.CompiledStep | compiled.TooLarge,
) -> str:
    """Return the table of the largest batch that fits with a margin, found by compiling a few."""
    unit = config.train.micro_batches * math.prod(
        parts.mesh.shape[axis] for axis in sharding.BATCH_AXES
    )

    def memory(batch: int) -> float:
        changed = ConfigDict(config)
        changed.train.batch_size = batch
        with activity.during(f"compiling for a batch of {batch}"):
            resized = compiled.assemble_for(changed, topology)
            tried = compiled.compile_step(changed, resized, topology, effort=-1.0)
            return compiled.bytes_used(tried)

    limit = topology.chip.memory * (1 - report.MARGIN)
    known = {config.train.batch_size: compiled.bytes_used(step)}
    resident = compiled.resident_bytes(config, parts)
    floor = sum(resident.values()) - resident["batch"]
    result = batches.largest_batch(
        memory, limit, unit=unit, floor=floor, known=known, precision=PRECISION
    )
    return report.largest_batch_table(result, unit, topology)


if __name__ == "__main__":
    sys.exit(exits.run(main))
