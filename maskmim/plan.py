"""Shows what a config would do, without training: `python -m maskmim.plan --config configs/mae.py`.

Prints the method's chain, tokens, FLOPs of an image (XLA's count), parameters with their shardings
and the bytes on each device of this machine's mesh. `--compile` also compiles the real train step
and prints the memory that it needs; that takes as long as compiling does.

For machines that are not here: --topology v5e:16x16 compiles the real step with the compiler of
TPUs (`pip install "jax[tpu]"`; no TPU is needed) and prints memory by kind, what chips send each
other, how long a step takes at least, images/s at shares of the peak, and the cores that decode.
--topology h100:8 does so for GPUs, with estimates where their compiler would be needed.
--largest-batch looks for the largest batch that fits, which compiles a few times more.
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
from maskmim.models.layers.attention import for_accelerators
from maskmim.planning import batches, compiled, cost, feeding, report, roofline, summary
from maskmim.planning.topology import Topology, forms, lay_out
from maskmim.reporting.progress import sheet
from maskmim.runtime import exits, processes
from maskmim.training import sharding
from maskmim.training.build import Assembly, assemble

FLAGS = {
    "compile": "also compile the train step and print the memory it needs",
    "largest-batch": "with --topology: look for the largest batch that fits",
}
OPTIONS = {
    "topology": f"machines to plan for. {forms()}",
    "decode-rate": "images/s that a core decodes and augments; measured on this machine otherwise",
}


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = command_line(argv, description=__doc__, workdir=False, flags=FLAGS, options=OPTIONS)
    if options.topology:
        return elsewhere(options.config, options)
    for name in ("largest_batch", "decode_rate"):
        if getattr(options, name):
            raise ConfigError(f"--{name.replace('_', '-')} needs --topology: {forms()}")
    return here(options.config, compiling=options.compile)


def here(config: ConfigDict, *, compiling: bool) -> int:
    """The plan on this machine's devices."""
    parts = assemble(config, TRAIN_IMAGES)
    about = [*summary.chain(config, parts), *summary.size(config, parts)]
    processes.say(sheet("Plan", [*about, *summary.devices(parts)]))
    processes.say("\n" + sheet("Parameters and shardings", summary.shardings(parts)))
    rows = summary.memory(config, parts, compiled=compiling)
    processes.say("\n" + sheet("Bytes on each device", rows))
    return errors.DONE


def elsewhere(config: ConfigDict, options: Namespace) -> int:
    """The plan for a topology."""
    topology = lay_out(options.topology)
    rate = rate_of(config, options.decode_rate)
    parts = compiled.parts_for(config, topology)
    demand = demanded(config, parts)
    about = [*summary.chain(config, parts), *summary.size(config, parts, demand.xla)]
    machine = report.machine(topology, parts.mesh.shape)
    processes.say(sheet("Plan", [*about, summary.batch(config), *machine]))
    tell("\nCompiling the train step, which takes minutes for a large model ...")
    step = compiled.compile_step(config, parts, topology)
    tell(f"... it took {step.seconds:.0f} s.")
    processes.say(f"\n{report.memory(step, topology)}")
    if isinstance(step, compiled.Step):
        processes.say(f"\n{times(config, parts, topology, step, demand, rate)}")
    if options.largest_batch:
        processes.say(f"\n{largest(config, parts, topology, step)}")
    processes.say("\n" + sheet("Parameters and shardings", summary.shardings(parts)))
    return errors.DONE


def tell(text: str) -> None:
    """Says on stderr what is going on, so that stdout is the plan alone."""
    print(text, file=sys.stderr, flush=True)


def demanded(config: ConfigDict, parts: Assembly) -> report.Demand:
    """FLOPs of an image, by networks as they are built for accelerators."""
    with for_accelerators():
        return report.Demand(
            xla=cost.train_flops_per_example(config, parts),
            products=cost.product_flops_per_example(config, parts),
            repeated=cost.product_flops_per_example(config, parts, repeats=True),
        )


def rate_of(config: ConfigDict, given: str | None) -> feeding.Rate:
    """Images/s a core: the one given, or measured here; ConfigError for what is no number."""
    if given is None:
        return feeding.decode_rate(config)
    try:
        rate = float(given)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise ConfigError(f"--decode-rate {given}: give images/s of one core, as 600")
    return feeding.Rate(rate, "as given")


def times(
    config: ConfigDict,
    parts: Assembly,
    topology: Topology,
    step: compiled.Step,
    demand: report.Demand,
    rate: feeding.Rate,
) -> str:
    """What is sent, how long a step takes at least, images/s at shares of the peak."""
    batch, chips = config.train.batch_size, len(topology.devices)
    took = roofline.seconds(
        topology.chip,
        flops=demand.repeated * batch / chips,
        hbm_bytes=step.hbm_bytes,
        link_seconds=step.link_seconds,
    )
    asked = {"flops": demand.products, "batch": batch, "least": took.least}
    most = roofline.share_at_most(topology.chip, chips, **asked)
    shares = sorted((*roofline.SHARES, most))
    speeds = [roofline.speed(share, topology.chip, chips, **asked) for share in shares]
    return "\n\n".join(
        (
            report.sent(step.collectives, step.unknown, topology.real),
            report.bounds(took, demand, step.hbm_bytes, batch, most),
            report.speeds(speeds, topology, rate, config.train.epochs),
        )
    )


def largest(
    config: ConfigDict,
    parts: Assembly,
    topology: Topology,
    step: compiled.Step | compiled.TooLarge,
) -> str:
    """The largest batch that fits with the margin, by compiling a few."""
    unit = config.train.micro_batches * math.prod(
        parts.mesh.shape[axis] for axis in sharding.BATCH_AXES
    )

    def memory(batch: int) -> float:
        changed = ConfigDict(config)
        changed.train.batch_size = batch
        tell(f"Compiling for a batch of {batch} ...")
        at_size = compiled.parts_for(changed, topology)
        found = compiled.compile_step(changed, at_size, topology)
        return compiled.bytes_used(found)

    limit = topology.chip.memory * (1 - report.MARGIN)
    known = {config.train.batch_size: compiled.bytes_used(step)}
    found = batches.largest_batch(memory, limit, unit=unit, known=known)
    return report.largest(found, unit, topology)


if __name__ == "__main__":
    sys.exit(exits.run(main))
