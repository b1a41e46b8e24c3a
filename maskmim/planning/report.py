"""A plan for other machines, as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from maskmim.errors import count_of
from maskmim.planning.batches import LargestBatch
from maskmim.planning.collectives import KindTotal
from maskmim.planning.compiled import CompiledStep, TooLarge, bytes_used
from maskmim.planning.feeding import IMAGENET, DataSet, Rate
from maskmim.planning.roofline import SHARES, Speed, StepSeconds
from maskmim.planning.summary import flops_text, size_text
from maskmim.planning.topology import Topology

# Seconds in which a host starts a step, about: of shorter steps the bounds say little.
STARTING = 1e-4
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
    torus = f"{count_of(count, 'chip')}, {shape}" if topology.real else count_of(count, "GPU")
    hosts = count_of(topology.hosts, "host")
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
        (name, size_text(int(size)), _share_text(size, usable), KINDS[name])
        for name, size in step.memory.items()
        if size
    ]
    used = bytes_used(step)
    known = math.isfinite(used)
    total = size_text(int(used)) if known else "more"
    share = _share_text(used, usable) if known else ""
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
        verb = "counts" if unknown == 1 else "count"
        text += f"\n{count_of(unknown, 'loop')} of unknown length {verb} as one iteration."
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
        f"An image takes {flops_text(demand.products)} in matrix products, forward and backward"
        + (f"; {flops_text(again)} more are recomputed." if again else "."),
        f"XLA counts {flops_text(demand.xla)}: {rest / demand.xla:.0%} are outside products.",
        f"At most {batch / times.least:,.0f} images/s, {share_text(share)} of peak FLOP/s (MFU).",
    ]
    if times.least < STARTING:
        lines.append(
            "A step this small takes longer to start than to compute: expect far less than that."
        )
    return "\n".join(lines)


def speed_table(
    speeds: Sequence[Speed],
    topology: Topology,
    rate: Rate,
    epochs: float,
    data: DataSet = IMAGENET,
) -> str:
    """Return the table of images/s at shares of the peak, with the decoding cores they need."""
    chips = len(topology.devices)
    rows = []
    for speed in speeds:
        per_host = speed.images / topology.hosts
        remarks = [] if speed.share in SHARES else ["the most, see above"]
        if rate.images and per_host / rate.images > topology.chip.cpus // 2:
            remarks.append("more cores than a host has")
        rows.append(
            (
                share_text(speed.share),
                time_text(speed.seconds),
                f"{speed.images:,.0f}",
                f"{speed.images / chips:,.0f}",
                f"{per_host:,.0f}",
                f"{per_host / rate.images:.1f}" if rate.images else "?",
                duration_text(epochs * data.images / speed.images),
                ", ".join(remarks),
            )
        )
    head = ("MFU", "step", "images/s", "per chip", "per host", "cores per host", "training", "")
    decoding = f"{rate.images:,.0f} images/s per core, " if rate.images else ""
    chip = topology.chip
    lines = [
        titled_table("Speed at a share of peak FLOP/s (MFU)", head, rows),
        "",
        f"Training: {count_of(epochs, 'epoch')} of {data.text}.",
        f"Decoding: {decoding}{rate.source}.",
        f"A host of {count_of(chip.chips, 'chip')} has {count_of(chip.cpus // 2, 'core')} "
        f"({chip.cpus} virtual CPUs).",
    ]
    return "\n".join(lines)


def short_rows(
    step: CompiledStep | TooLarge,
    topology: Topology,
    most: Speed | None,
    rate: Rate,
    epochs: float,
    data: DataSet = IMAGENET,
) -> list[tuple[str, str]]:
    """Return the rows that a plan ends with: the memory of a chip, images/s, and the time.

    most: the highest speed that the times of a step allow; None where the step does not fit.
    """
    usable, used = topology.chip.memory, bytes_used(step)
    fits = "it fits" if used <= usable else "it does not fit"
    needed = size_text(int(used)) if math.isfinite(used) else "more than"
    rows = [("memory of a chip", f"{needed} of {size_text(int(usable))}: {fits}")]
    if most is None:
        return rows
    decoded = rate.images * (topology.chip.cpus // 2) * topology.hosts
    speed, why = most.images, f"{share_text(most.share)} of peak FLOP/s"
    if 0 < decoded < speed:
        speed, why = decoded, "what all cores of the hosts decode"
    seconds = epochs * data.images / speed
    whole = f"at least {duration_text(seconds)}" if seconds >= 1 else duration_text(seconds)
    return [
        *rows,
        ("images/s", f"{speed:,.0f} at most ({why})"),
        ("training", f"{whole}, for {count_of(epochs, 'epoch')} of {data.text}"),
    ]


def share_text(share: float) -> str:
    """Format a share as 28%, a small one as 0.03%."""
    return f"{share:.0%}" if share >= 0.01 else f"{100 * share:.1g}%"


def time_text(seconds: float) -> str:
    """Format a short time as 12.3 ms, 45.6 us or 7.8 ns."""
    if seconds >= 1e-4:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds * 1e6:.1f} us" if seconds >= 1e-7 else f"{seconds * 1e9:.1f} ns"


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
        least = count_of(min(result.tried), "image")
        return f"{text}\n\nNo batch fits, not even {least}. {ADVICE}"
    fits = f"A batch of {count_of(result.batch, 'image')} fits with {MARGIN:.0%} left"
    if math.isinf(result.too_large):
        return f"{text}\n\n{fits}; larger ones were not tried."
    between = (int(result.too_large) - result.batch) // unit - 1
    rest = f"; the {count_of(between, 'multiple')} of {unit} in between were not tried"
    end = rest if between else f", the next multiple of {unit}"
    return f"{text}\n\n{fits}, one of {int(result.too_large):,} does not{end}."


def _share_text(used: float, usable: float) -> str:
    if not math.isfinite(used):
        return "more"
    return f"{used / usable:.1%}" if used >= usable / 1000 else "<0.1%"


def duration_text(seconds: float) -> str:
    """Format a duration as 12.5 h or 3.1 d, a short one as 12 s or 3.4 min."""
    if seconds < 1:
        return "under 1 s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
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
