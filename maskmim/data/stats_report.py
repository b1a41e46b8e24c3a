"""What `python -m maskmim.stats` prints: tables of what was measured, and the flags to use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskmim.data.image_stats import PRECISION, Group, ImageStats
from maskmim.data.value_range import INNER, ends_and_inner, likely_marks, shown_numbers, value_range
from maskmim.errors import count_of

SHARES = (0.1, 1.0, 50.0, 99.0, 99.9)
SHOWN = 20  # Unreadable files that are listed.
HEAD = ("channel", "least", *(f"{share:g} %" for share in SHARES), "largest", "mean", "std")


def report(stats: ImageStats, where: str) -> str:
    """Return the whole report, without the flags."""
    lines = [f"{where}: {count_of(stats.images + len(stats.bad), 'image')}", ""]
    lines += [f"{stats.images:,} read, {stats.grey / stats.images:.1%} of them grey"]
    lines += [_sizes_line(stats)]
    for group in by_images(stats):
        lines += ["", *_group_lines(group)]
    if stats.bad:
        lines += ["", f"{len(stats.bad):,} unreadable:"]
        lines += [f"  {name}: {reason}" for name, reason in stats.bad[:SHOWN]]
        lines += [f"  and {len(stats.bad) - SHOWN:,} more"] if len(stats.bad) > SHOWN else []
    return "\n".join(lines)


def by_images(stats: ImageStats) -> list[Group]:
    """Return the groups, that of most images first."""
    return sorted(stats.groups.values(), key=lambda group: -group.images)


def flags(stats: ImageStats) -> tuple[list[str], list[str]]:
    """Return the flags of a config for these images, and lines on what they leave out."""
    groups = by_images(stats)
    first = groups[0]
    channels = first.channels
    if first.colours:
        channels = max(group.channels for group in groups if group.colours)
    used = [g for g in groups if g.channels == channels or (g.colours == 1 and channels == 3)]
    used = [g for g in used if channels in (1, 3) or g.channels == channels]
    deep = [group for group in used if group.is_deep]
    limits = value_range(deep) if deep else None
    mean, std, constant = _moments(used, channels, limits)
    lines = [f"--config.input.channels={channels}"]
    if limits is not None:
        for section in ("data", "evals"):
            lines.append(f"--config.{section}.decode.brick=maskmim.data.decode.scaled")
            lines.append(f"--config.{section}.decode.value_range={_exact(limits)}")
        lines.append("--config.input.dtype=float32")
    else:
        lines.append("--config.input.dtype=uint8")
    digits = [shown_numbers([m], s)[0] for m, s in zip(mean, std, strict=True)]
    lines.append(f"--config.input.mean={','.join(digits)}")
    lines.append(f"--config.input.std={','.join(f'{value:.4g}' for value in std)}")
    remarks = _remarks(groups, used, channels) + _page_remarks(stats)
    remarks += _mark_remarks(used)
    if limits is not None:
        remarks += _range_remarks(deep, limits)
    if constant:
        names = ", ".join(map(str, constant))
        remarks.append(f"one value everywhere in channel {names}: std is given as 1 there")
    return lines, remarks


def _exact(limits: tuple[float, float]) -> str:
    """Return a range as a flag takes it, with every digit."""
    return ",".join(repr(int(v) if v == int(v) and abs(v) < 1e16 else v) for v in limits)


def _moments(
    groups: Sequence[Group], channels: int, limits: tuple[float, float] | None
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return mean and std of values in [0, 1], and the channels that are constant."""
    total, first, second = (np.zeros(channels) for _ in range(3))
    for group in groups:
        low, high = limits if group.is_deep and limits is not None else group.limits
        mean, square = (np.broadcast_to(m, channels) for m in group.values.moments(low, high))
        count = np.broadcast_to(group.values.count + group.values.lost, channels)
        total, first, second = total + count, first + mean * count, second + square * count
    mean = first / np.maximum(total, 1)
    std = np.sqrt(np.maximum(second / np.maximum(total, 1) - mean**2, 0))
    # float32 has seven digits, and so have the inputs.
    same = std <= 1e-7 * np.maximum(np.abs(mean), 1e-6)
    return mean, np.where(same, 1.0, std), np.flatnonzero(same).tolist()


def _remarks(groups: Sequence[Group], used: Sequence[Group], channels: int) -> list[str]:
    """Return lines on images that the flags do not suit."""
    remarks = []
    others = [group for group in groups if not any(group is each for each in used)]
    if others:
        count = sum(group.images for group in others)
        has = ", ".join(sorted({str(group.channels) for group in others}))
        remarks.append(
            f"{count_of(count, 'image')} of {has} channels where the flags say {channels}: they "
            "will count as bad files"
        )
    if len({group.values.kind for group in used}) > 1:
        kinds = ", ".join(f"{group.images:,} {group.values.kind}" for group in used)
        remarks.append(
            f"the images are of several types ({kinds}): check that black and white of one are "
            "those of the others; 8-bit images keep their 0 to 255"
        )
    lost = sum(int(group.values.lost.sum()) for group in used)
    if lost:
        share = lost / sum(g.values.count.sum() + g.values.lost.sum() for g in used)
        remarks.append(
            f"{share:.3g} of the values are NaN or no data (read as the low end of the range) or "
            "infinite (clipped): the table leaves them out, input.mean and input.std count them as "
            "they are read"
        )
    return remarks


def _page_remarks(stats: ImageStats) -> list[str]:
    """Return lines on TIFF files of several pages."""
    remarks = []
    if stats.paged:
        verb = "has" if stats.paged == 1 else "have"
        remarks.append(
            f"{count_of(stats.paged, 'file')} {verb} several pages, of which only the first is read"
        )
    if stats.stacks:
        remarks.append(
            f"{count_of(stats.stacks, 'file')} of 8 bits with several grey pages: measured as "
            "bands, one a page; input.channels=1 reads the first page of each and no other"
        )
    return remarks


def _mark_remarks(groups: Sequence[Group]) -> list[str]:
    """Return a line on values that seem to stand for no data, without a tag that says so."""
    marks: dict[float, float] = {}
    for group in groups:
        for mark, share in likely_marks(group.values).items():
            marks[mark] = max(share, marks.get(mark, 0.0))
    if not marks:
        return []
    words = " and ".join(f"{mark:.10g} ({share:.2%})" for mark, share in marks.items())
    return [
        f"likely no data: {words} is far from all other values. value_range leaves it out, so that "
        "it is read as black or white; mark it by GDAL's tag (gdal_edit.py -a_nodata VALUE FILE) "
        "to have it read as black, or set a value_range that holds it if it is a measurement"
    ]


def _range_remarks(deep: Sequence[Group], limits: tuple[float, float]) -> list[str]:
    """Return lines on values outside the range, without marks for no data."""
    parts = [ends_and_inner(group.values) for group in deep]
    least, most = min(part[0] for part in parts), max(part[1] for part in parts)
    if limits[0] <= least and most <= limits[1]:
        return []
    ends = shown_numbers((least, most), limits[1] - limits[0])
    share = f"{INNER[1] - INNER[0]:g} % of the values"
    return [
        f"value_range holds {share}; the rest, down to {ends[0]} and up to {ends[1]}, is clipped"
    ]


def _sizes_line(stats: ImageStats) -> str:
    """Return a line on height and width."""
    sizes = sorted(stats.sizes)
    if len(sizes) == 1:
        return f"sizes: all {sizes[0][0]} x {sizes[0][1]} pixels (height x width)"
    counts = np.array([stats.sizes[size] for size in sizes])
    words = []
    for axis, name in enumerate(("height", "width")):
        lengths = np.array([size[axis] for size in sizes])
        order = np.argsort(lengths)
        middle = lengths[order][np.searchsorted(np.cumsum(counts[order]), counts.sum() / 2)]
        words.append(f"{name} {lengths.min()} to {lengths.max()}, median {middle}")
    return f"sizes in pixels: {'; '.join(words)}"


def _group_lines(group: Group) -> list[str]:
    """Return the table of a group's channels."""
    colours = {0: "bands", 1: "grey", 3: "RGB"}[group.colours]
    kind = group.values.kind
    images = count_of(group.images, "image")
    head = f"{images} of type {kind}, {colours}, channels: {group.channels}"
    rows = [HEAD]
    count = np.maximum(group.values.count, 1)
    std = np.sqrt(group.values.squares / count)
    for c in range(group.channels):
        low, high = group.values.low[c], group.values.high[c]
        width = high - low
        # In bins wider than a hundredth of all values percentiles are no longer known.
        coarse = not group.values.is_exact and PRECISION * max(abs(low), abs(high)) > width / 50
        inner = [np.nan] * len(SHARES) if coarse else group.values.percentiles(SHARES, c)
        mean = group.values.mean[c] if group.values.count[c] else np.nan
        row = shown_numbers((low, *inner, high, mean), width)
        row.append(f"{std[c]:.5g}")
        rows.append((str(c), *("-" if cell.strip("-") in ("nan", "inf") else cell for cell in row)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return [head] + [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
