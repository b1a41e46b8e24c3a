"""A plan for other machines, as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from maskmim.imagenet import TRAIN_IMAGES
from maskmim.planning.batches import LargestBatch
from maskmim.planning.collectives import KindTotal
from maskmim.planning.compiled import CompiledStep, TooLarge, bytes_used
from maskmim.planning.feeding import Rate
from maskmim.planning.roofline import SHARES, Speed, StepSeconds
from maskmim.planning.summary import size_text
from maskmim.planning.topology import Topology

# Share of the usable memory left free for evaluation, pictures and checkpoints.
MARGIN = 0.05

KINDS = {
    "parameters": "weights that are trained",
    "optimiser": "its state of each weight",
    "extra": "EMA weights and other arrays updated without gradients",
    "frozen": "a loaded teacher or tokenizer",
    "batch": "the images of a step",
    "next batch": "the images of the next step, prefetched",
    "padding": "arrays padded to whole tiles, counters",
    "temporaries": "activations, gradients, buffers",
    "results": "metrics",
    "program": "the compiled step itself",
}

SENT = {
    "all-reduce": "sums over chips: gradients",
    "all-gather": "shards put together: weights",
    "reduce-scatter": "sums over chips, sharded: gradients",
    "all-to-all": "shards exchanged",
    "collective-permute": "arrays passed to a neighbour",
}


class Demand(NamedTuple):
    """FLOPs of one image, forward and backward.

    xla:      all operations, counted by XLA.
    products: matrix products, counted from their shapes.
    repeated: matrix products and those that `model.compute.remat` repeats.
    """

    xla: float
    products: float
    repeated: float


def machine_rows(topology: Topology, mesh: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return the rows of the chips and the device mesh."""
    chip = topology.chip
    shape = " x ".join(map(str, topology.shape))
    count = len(topology.devices)
    torus = f"{count} chips, {shape}" if topology.real else f"{count} GPUs"
    hosts = "1 host" if topology.hosts == 1 else f"{topology.hosts} hosts"
    axes = ", ".join(f"{axis} {size}" for axis, size in mesh.items())
    links = f"{chip.links} links of" if topology.real else "NVLink of"
    return [
        ("machine", f"{chip.name}: {torus}; {hosts}"),
        (
            "chip",
            f"{chip.flops / 1e12:.0f} TFLOP/s in bfloat16, {size_text(int(chip.memory))} usable "
            f"memory at {chip.bandwidth / 1e9:.0f} GB/s, {links} {chip.link / 1e9:.0f} GB/s",
        ),
        ("mesh", axes),
    ]


def memory_table(step: CompiledStep | TooLarge, topology: Topology) -> str:
    """Return the table of a chip's bytes by kind, and whether they fit."""
    usable = topology.chip.memory
    rows = [
        (name, size_text(int(size)), f"{size / usable:.1%}", KINDS[name])
        for name, size in step.memory.items()
        if size
    ]
    used = bytes_used(step)
    known = math.isfinite(used)
    total = size_text(int(used)) if known else "more"
    share = f"{used / usable:.1%}" if known else ""
    rows.append(("total", total, share, f"of {size_text(int(usable))}"))
    return (
        titled_table("Memory of a chip", ("", "", "", ""), rows) + f"\n\n{verdict(step, topology)}"
    )


def verdict(step: CompiledStep | TooLarge, topology: Topology) -> str:
    """Return whether the step fits, and what to change where it does not."""
    usable, compiled, used = topology.chip.memory, isinstance(step, CompiledStep), bytes_used(step)
    note = "" if topology.real else ESTIMATE
    if used <= usable * (1 - MARGIN):
        return f"It fits, with {size_text(int(usable - used))} to spare.{note}"
    if compiled and used <= usable:
        answer = f"It just fits: less than {MARGIN:.0%} is left, which evaluation may need."
        return f"{answer}{note}\n{ADVICE}"
    return f"It does not fit.{note}\n{ADVICE}"


ADVICE = (
    "To use less: --config.train.micro_batches=4 (gradient accumulation, same result),\n"
    "--config.model.compute.remat=full (recompute activations), --config.mesh.fsdp=N with\n"
    "--config.mesh.data=-1 (weights and optimiser sharded over N chips), or a smaller batch."
)
ESTIMATE = (
    " An estimate: compiled for a CPU, whose compiler\nstores bfloat16 as float32 and uses other "
    "buffers; the state is exact."
)


def collectives_table(totals: Mapping[str, KindTotal], unknown: int, real: bool) -> str:
    """Return the table of collectives by kind: executions, bytes of arrays, bytes a chip sends."""
    rows = [
        (kind, str(total.count), size_text(total.payload), size_text(int(total.sent)), SENT[kind])
        for kind, total in totals.items()
    ]
    if not rows:
        return "Sent between chips in a step\n----------------------------\nnothing"
    text = titled_table(
        "Sent between chips in a step", ("", "count", "arrays", "sent per chip", ""), rows
    )
    if unknown:
        text += f"\n{unknown} loops of unknown length count as one iteration."
    if not real:
        text += (
            "\nAn estimate: the CPU compiler sums bfloat16 in float32, which is twice the bytes."
        )
    return text


def step_time_table(
    times: StepSeconds, demand: Demand, hbm_bytes: float, batch: int, share: float
) -> str:
    """Return the table of a step's least times, and the largest MFU that they allow.

    share: that MFU.
    """
    labels = {"arithmetic": "arithmetic", "memory": "memory traffic", "links": "links"}
    slowest = labels[times.slowest]
    rows = [
        ("arithmetic", time_text(times.arithmetic), "matrix products at the chip's peak"),
        (
            "memory traffic",
            time_text(times.memory),
            f"{size_text(int(hbm_bytes))} in and out of HBM",
        ),
        ("links", time_text(times.links), "what a chip sends, every link busy"),
        ("full overlap", time_text(times.least), f"no step is faster: {slowest} is the bottleneck"),
        ("no overlap", time_text(times.most), "one after another"),
    ]
    rest, again = demand.xla - demand.repeated, demand.repeated - demand.products
    lines = [
        titled_table("Time of a step, at least", ("", "", ""), rows),
        "",
        f"An image takes {demand.products / 1e9:.3g} GFLOP in matrix products, forward and backward"
        + (f"; {again / 1e9:.3g} more are recomputed." if again else "."),
        f"XLA counts {demand.xla / 1e9:.3g} GFLOP: {rest / demand.xla:.0%} are outside products.",
        f"At most {batch / times.least:,.0f} images/s, {share:.0%} of peak FLOP/s (MFU).",
    ]
    return "\n".join(lines)


def speed_table(speeds: Sequence[Speed], topology: Topology, rate: Rate, epochs: float) -> str:
    """Return the table of images/s at shares of the peak, with the decoding cores they need."""
    chips = len(topology.devices)
    rows = []
    for speed in speeds:
        per_host = speed.images / topology.hosts
        remark = "" if speed.share in SHARES else "the most, see above"
        rows.append(
            (
                f"{speed.share:.0%}",
                time_text(speed.seconds),
                f"{speed.images:,.0f}",
                f"{speed.images / chips:,.0f}",
                f"{per_host:,.0f}",
                f"{per_host / rate.images:.1f}" if rate.images else "?",
                duration_text(epochs * TRAIN_IMAGES / speed.images),
                remark if speed.possible else "faster than possible",
            )
        )
    head = ("MFU", "step", "images/s", "per chip", "per host", "cores per host", "training", "")
    decoding = f"{rate.images:,.0f} images/s per core, " if rate.images else ""
    chip = topology.chip
    lines = [
        titled_table("Speed at a share of peak FLOP/s (MFU)", head, rows),
        "",
        f"Training: {epochs:g} epochs of ImageNet-1k's {TRAIN_IMAGES:,} images.",
        f"Decoding: {decoding}{rate.source}.",
        f"A host of {chip.chips} chips has {chip.cpus // 2} cores ({chip.cpus} virtual CPUs).",
    ]
    return "\n".join(lines)


def time_text(seconds: float) -> str:
    """Format a short time as 12.3 ms or 45.6 us."""
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-4 else f"{seconds * 1e6:.1f} us"


def largest_batch_table(result: LargestBatch, unit: int, topology: Topology) -> str:
    """Return the table of compiled batches, and the largest one that fits."""
    usable = topology.chip.memory
    rows = [
        (
            str(batch),
            size_text(int(used)) if math.isfinite(used) else "too large",
            _share_text(used, usable),
        )
        for batch, used in sorted(result.tried.items())
    ]
    text = titled_table("Largest batch", ("batch", "per chip", "of its memory"), rows)
    if not result.batch:
        return text + f"\n\nNo batch fits, not even {min(result.tried)} images. {ADVICE}"
    end = "." if result.sure else "; larger batches in between were not tried."
    return (
        f"{text}\n\n{result.batch} images is the largest multiple of {unit} that fits with "
        f"{MARGIN:.0%} left{end}"
    )


def _share_text(used: float, usable: float) -> str:
    return f"{used / usable:.1%}" if math.isfinite(used) else "more"


def duration_text(seconds: float) -> str:
    """Format a duration as 12.5 h or 3.1 d."""
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"


def titled_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table with a title; first and last columns are left-aligned, others right."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    last = len(widths) - 1
    lines = [title, "-" * len(title)]
    for row in ([head] if any(head) else []) + list(rows):
        cells = [
            cell.ljust(width) if column in (0, last) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
