"""Show what a config would do and need, without training.

  python -m maskmim.plan --config mae                              # on this machine
  python -m maskmim.plan --config mae --compile                    # and the memory of a step
  python -m maskmim.plan --config mae:variant=L/16 --topology v5e:16x16
  python -m maskmim.plan --config mae --topology h100:8 --largest-batch

Prints the method from tokens to loss, FLOPs per image, parameters with their shardings and the
bytes on each device of this machine. --compile also compiles the train step, to print its memory.

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

from ml_collections import ConfigDict

from maskmim import errors
from maskmim.config.command_line import command_line
from maskmim.config.parse import ConfigError
from maskmim.imagenet import TRAIN_IMAGES
from maskmim.models.layers.attention import assume_accelerators
from maskmim.planning import batches, compiled, cost, feeding, report, roofline, summary
from maskmim.planning.topology import Topology, load_topology, topology_help
from maskmim.reporting.progress import format_rows
from maskmim.runtime import exits, processes
from maskmim.training import sharding
from maskmim.training.build import Assembly, assemble

FLAGS = {
    "compile": "also compile the train step and print its memory",
    "largest-batch": "with --topology: find the largest batch that fits",
}
OPTIONS = {
    "topology": f"NAME: machines to plan for. {topology_help()}",
    "decode-rate": "RATE: images/s that a core decodes and augments; default: measured here",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = command_line(argv, description=__doc__, workdir=False, flags=FLAGS, options=OPTIONS)
    if options.topology:
        return plan_for_topology(options.config, options)
    for name in ("largest_batch", "decode_rate"):
        if getattr(options, name):
            raise ConfigError(f"--{name.replace('_', '-')} needs --topology: {topology_help()}")
    return plan_for_this_machine(options.config, compiling=options.compile)


def plan_for_this_machine(config: ConfigDict, *, compiling: bool) -> int:
    """Print the plan for this machine's devices."""
    parts = assemble(config, TRAIN_IMAGES)
    rows = [*summary.method_rows(config, parts), *summary.model_rows(config, parts)]
    processes.print_once(format_rows("Plan", [*rows, *summary.device_rows(parts)]))
    print_shardings(parts)
    memory = summary.memory_rows(config, parts, compiled=compiling)
    processes.print_once("\n" + format_rows("Bytes on each device", memory))
    return errors.DONE


def print_shardings(parts: Assembly) -> None:
    """Print the parameters and how each is sharded."""
    rows = summary.sharding_rows(parts)
    processes.print_once("\n" + format_rows("Parameters and shardings", rows))


def plan_for_topology(config: ConfigDict, options: Namespace) -> int:
    """Print the plan for a topology."""
    topology = load_topology(options.topology)
    rate = core_rate(config, options.decode_rate)
    parts = compiled.assemble_for(config, topology)
    demand = flops_per_image(config, parts)
    method = summary.method_rows(config, parts)
    model = summary.model_rows(config, parts, demand.xla)
    machine = report.machine_rows(topology, parts.mesh.shape)
    rows = [*method, *model, summary.batch_row(config), *machine]
    processes.print_once(format_rows("Plan", rows))
    print_status("\nCompiling the train step, which takes minutes for a large model ...")
    step = compiled.compile_step(config, parts, topology)
    print_status(f"... it took {step.seconds:.0f} s.")
    processes.print_once(f"\n{report.memory_table(step, topology)}")
    if isinstance(step, compiled.CompiledStep):
        processes.print_once(f"\n{time_tables(config, parts, topology, step, demand, rate)}")
    if options.largest_batch:
        processes.print_once(f"\n{find_largest_batch(config, parts, topology, step)}")
    print_shardings(parts)
    return errors.DONE


def print_status(text: str) -> None:
    """Print what is going on to stderr, so that stdout holds only the plan."""
    print(text, file=sys.stderr, flush=True)


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


def time_tables(
    config: ConfigDict,
    parts: Assembly,
    topology: Topology,
    step: compiled.CompiledStep,
    demand: report.Demand,
    rate: feeding.Rate,
) -> str:
    """Return the tables of collectives, of a step's least times and of speeds."""
    batch, chips = config.train.batch_size, len(topology.devices)
    times = roofline.step_seconds(
        topology.chip,
        flops=demand.repeated * batch / chips,
        hbm_bytes=step.hbm_bytes,
        link_seconds=step.link_seconds,
    )
    work = {"flops": demand.products, "batch": batch, "least": times.least}
    most = roofline.max_share(topology.chip, chips, **work)
    shares = sorted((*roofline.SHARES, most))
    speeds = [roofline.speed_at(share, topology.chip, chips, **work) for share in shares]
    return "\n\n".join(
        (
            report.collectives_table(step.collectives, step.unknown, topology.real),
            report.step_time_table(times, demand, step.hbm_bytes, batch, most),
            report.speed_table(speeds, topology, rate, config.train.epochs),
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
        print_status(f"Compiling for a batch of {batch} ...")
        resized = compiled.assemble_for(changed, topology)
        return compiled.bytes_used(compiled.compile_step(changed, resized, topology))

    limit = topology.chip.memory * (1 - report.MARGIN)
    known = {config.train.batch_size: compiled.bytes_used(step)}
    result = batches.largest_batch(memory, limit, unit=unit, known=known)
    return report.largest_batch_table(result, unit, topology)


if __name__ == "__main__":
    sys.exit(exits.run(main))
