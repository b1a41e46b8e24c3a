"""A plan for machines that are not here, as text for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from maskmim.imagenet import TRAIN_IMAGES
from maskmim.planning.batches import Largest
from maskmim.planning.collectives import Sum
from maskmim.planning.compiled import Step, TooLarge, bytes_used
from maskmim.planning.feeding import Rate
from maskmim.planning.roofline import SHARES, Seconds, Speed
from maskmim.planning.summary import size_text
from maskmim.planning.topology import Topology

# Of the usable memory, left free: evaluation, pictures and checkpoints bring programs of their own.
MARGIN = 0.05

KINDS = {
    "parameters": "weights that are trained",
    "optimiser": "what it keeps for each weight",
    "extra": "averaged weights and the like, changed without gradients",
    "frozen": "a loaded teacher or tokenizer",
    "batch": "the images of a step",
    "next batch": "the images of the next step, sent ahead",
    "padding": "arrays filled up to whole tiles, counters",
    "temporaries": "activations, gradients, buffers",
    "results": "metrics",
    "program": "the compiled step itself",
}

SENT = {
    "all-reduce": "sums over chips: gradients",
    "all-gather": "parts put together: split weights",
    "reduce-scatter": "sums of which each chip keeps a part: split gradients",
    "all-to-all": "parts exchanged",
    "collective-permute": "arrays handed to a neighbour",
}


class Demand(NamedTuple):
    """FLOPs of one image, forward and backward.

    xla:      all of the model's, by XLA's count. products: of its matrix products, by their shapes.
    repeated: of products with those that `model.remat` computes again.
    """

    xla: float
    products: float
    repeated: float


def machine(topology: Topology, mesh: Mapping[str, int]) -> list[tuple[str, str]]:
    """The chips and how they are used."""
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
            "a chip",
            f"{chip.flops / 1e12:.0f} TFLOP/s in bfloat16, {size_text(int(chip.memory))} usable "
            f"memory at {chip.bandwidth / 1e9:.0f} GB/s, {links} {chip.link / 1e9:.0f} GB/s",
        ),
        ("mesh", axes),
    ]


def memory(step: Step | TooLarge, topology: Topology) -> str:
    """Bytes of one chip by kind, against what it has."""
    usable = topology.chip.memory
    rows = [
        (name, size_text(int(size)), f"{size / usable:.1%}", KINDS[name])
        for name, size in step.memory.items()
        if size
    ]
    used = bytes_used(step)
    known = math.isfinite(used)
    of = f"of {size_text(int(usable))}"
    whole = size_text(int(used)) if known else "more"
    rows.append(("together", whole, f"{used / usable:.1%}" if known else "", of))
    return table("Memory of a chip", ("", "", "", ""), rows) + f"\n\n{verdict(step, topology)}"


def verdict(step: Step | TooLarge, topology: Topology) -> str:
    """Whether the step fits, in one or two lines, and what to do where it does not."""
    usable, compiled, used = topology.chip.memory, isinstance(step, Step), bytes_used(step)
    how = "" if topology.real else ESTIMATE
    if used <= usable * (1 - MARGIN):
        return f"It fits, with {size_text(int(usable - used))} to spare.{how}"
    if compiled and used <= usable:
        little = f"It just fits: less than {MARGIN:.0%} is left, which evaluation may need."
        return f"{little}{how}\n{ADVICE}"
    return f"It does not fit.{how}\n{ADVICE}"


ADVICE = (
    "To need less: --config.train.micro_batches=4 (the batch in parts, the same result),\n"
    "--config.model.remat=full (activations computed again), --config.mesh.fsdp=N with\n"
    "--config.mesh.data=-1 (weights and optimiser split over N chips), a smaller batch."
)
ESTIMATE = (
    " An estimate: compiled for a CPU, whose compiler\nholds bfloat16 as float32 and keeps other "
    "buffers; the state is exact."
)


def sent(sums: Mapping[str, Sum], unknown: int, real: bool) -> str:
    """Collectives by kind: how many, the bytes of their arrays, and what a chip sends."""
    rows = [
        (kind, str(each.count), size_text(each.payload), size_text(int(each.sent)), SENT[kind])
        for kind, each in sums.items()
    ]
    if not rows:
        return "Sent between chips in a step\n----------------------------\nnothing"
    text = table("Sent between chips in a step", ("", "times", "arrays", "a chip sends", ""), rows)
    if unknown:
        text += f"\n{unknown} loops of unknown length count as if they ran once."
    if not real:
        text += "\nAn estimate: a CPU's compiler sums bfloat16 in float32, twice the bytes."
    return text


def bounds(times: Seconds, demand: Demand, hbm_bytes: float, batch: int, share: float) -> str:
    """What a step needs at least."""
    slowest = {"arithmetic": "arithmetic", "memory": "memory traffic", "links": "links"}
    decides = f"no step is faster: {slowest[times.slowest]} decides"
    rows = [
        ("arithmetic", brief(times.arithmetic), "matrix products at the chip's peak"),
        ("memory traffic", brief(times.memory), f"{size_text(int(hbm_bytes))} in and out of HBM"),
        ("links", brief(times.links), "what a chip sends, every link busy"),
        ("all at once", brief(times.least), decides),
        ("one by one", brief(times.most), "nothing beside anything else"),
    ]
    rest, again = demand.xla - demand.repeated, demand.repeated - demand.products
    lines = [
        table("Time of a step, at least", ("", "", ""), rows),
        "",
        f"An image takes {demand.products / 1e9:.3g} GFLOP in matrix products, forward and backward"
        + (f"; {again / 1e9:.3g} more are computed again." if again else "."),
        f"XLA counts {demand.xla / 1e9:.3g} GFLOP: {rest / demand.xla:.0%} are outside products.",
        f"At most {batch / times.least:,.0f} images/s: {share:.0%} of the arithmetic's peak (MFU).",
    ]
    return "\n".join(lines)


def speeds(found: Sequence[Speed], topology: Topology, rate: Rate, epochs: float) -> str:
    """Images a second at shares of the peak, and the decoding cores that each needs."""
    chips = len(topology.devices)
    rows = []
    for each in found:
        host = each.images / topology.hosts
        cores = f"{host / rate.images:.1f}" if rate.images else "?"
        speed = f"{each.images:,.0f}", f"{each.images / chips:,.0f}", f"{host:,.0f}", cores
        remark = "" if each.share in SHARES else "the most, see above"
        remark = remark if each.possible else "faster than possible"
        share, step = f"{each.share:.0%}", brief(each.seconds)
        rows.append((share, step, *speed, hours(epochs * TRAIN_IMAGES / each.images), remark))
    head = ("MFU", "step", "images/s", "a chip", "a host", "cores a host", "training", "")
    told = f"{rate.images:,.0f} images/s a core, {rate.told}" if rate.images else rate.told
    chip = topology.chip
    lines = [
        table("Speed at a share of the arithmetic's peak (MFU)", head, rows),
        "",
        f"Training: {epochs:g} epochs of {TRAIN_IMAGES:,} images, ImageNet-1k's.",
        f"Decoding: {told}.",
        f"A host of {chip.chips} chips has {chip.cpus // 2} cores ({chip.cpus} virtual CPUs).",
    ]
    return "\n".join(lines)


def brief(seconds: float) -> str:
    """A short time as 12.3 ms or 45.6 us."""
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-4 else f"{seconds * 1e6:.1f} us"


def largest(found: Largest, unit: int, topology: Topology) -> str:
    """The largest batch that fits, and the batches that were compiled to find it."""
    usable = topology.chip.memory
    rows = [
        (
            str(batch),
            size_text(int(used)) if math.isfinite(used) else "too much",
            _share(used, usable),
        )
        for batch, used in sorted(found.looks.items())
    ]
    text = table("Largest batch", ("batch", "a chip needs", "of its memory"), rows)
    if not found.batch:
        return text + f"\n\nNone fits: not even {min(found.looks)} images. {ADVICE}"
    end = "." if found.sure else "; larger ones in between were not tried."
    return (
        f"{text}\n\n{found.batch} images is the largest multiple of {unit} that fits with "
        f"{MARGIN:.0%} left{end}"
    )


def _share(used: float, usable: float) -> str:
    return f"{used / usable:.1%}" if math.isfinite(used) else "more"


def hours(seconds: float) -> str:
    """A duration as 12.5 h or 3.1 d."""
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A titled table: first and last columns to the left, numbers between them to the right."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    last = len(widths) - 1
    lines = [title, "-" * len(title)]
    for row in ([head] if any(head) else []) + list(rows):
        cells = [
            cell.ljust(width) if place in (0, last) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
