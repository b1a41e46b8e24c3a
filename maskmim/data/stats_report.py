"""What `python -m maskmim.stats` prints: tables of what was measured, and the flags to use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskmim.data.image_stats import INNER, OUTLIERS, ROUNDING, Group, ImageStats
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


def value_range(groups: Sequence[Group]) -> tuple[float, float]:
    """Return the range of deep images: least to largest, or the inner percentiles beside outliers.

    Outliers are taken for such where the whole range is OUTLIERS times the inner one.
    """
    low = min(float(group.values.low.min()) for group in groups)
    high = max(float(group.values.high.max()) for group in groups)
    inner = np.array([group.values.percentiles(INNER) for group in groups])
    least, most = float(np.nanmin(inner[:, 0])), float(np.nanmax(inner[:, 1]))
    if high - low > OUTLIERS * (most - least) > 0:
        low, high = least, most
    whole = all(np.dtype(group.values.kind).kind in "iu" for group in groups)
    low, high = (low, high) if whole else (float(f"{low:.6g}"), float(f"{high:.6g}"))
    return (low, high) if low < high else (low, low + 1.0)


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
            lines.append(f"--config.{section}.decode.value_range={limits[0]:.10g},{limits[1]:.10g}")
        lines.append("--config.input.dtype=float32")
    else:
        lines.append("--config.input.dtype=uint8")
    lines.append(f"--config.input.mean={','.join(f'{value:.4g}' for value in mean)}")
    lines.append(f"--config.input.std={','.join(f'{value:.4g}' for value in std)}")
    remarks = _remarks(groups, used, deep, channels)
    if limits is not None:
        remarks += _range_remarks(deep, limits)
    if constant:
        remarks.append(
            f"channels {', '.join(map(str, constant))} have one value everywhere: their std is "
            "given as 1"
        )
    return lines, remarks


def _moments(
    groups: Sequence[Group], channels: int, limits: tuple[float, float] | None
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return mean and std of values in [0, 1], and the channels that are constant."""
    total, first, second = (np.zeros(channels) for _ in range(3))
    for group in groups:
        low, high = limits if group.is_deep and limits is not None else group.limits
        mean, square = (np.broadcast_to(m, channels) for m in group.values.moments(low, high))
        count = np.broadcast_to(group.values.count, channels)
        total, first, second = total + count, first + mean * count, second + square * count
    mean = first / np.maximum(total, 1)
    std = np.sqrt(np.maximum(second / np.maximum(total, 1) - mean**2, 0))
    constant = [c for c in range(channels) if std[c] < 1e-6]
    return mean, np.where(std < 1e-6, 1.0, std), constant


def _remarks(
    groups: Sequence[Group], used: Sequence[Group], deep: Sequence[Group], channels: int
) -> list[str]:
    """Return lines on images that the flags do not suit."""
    remarks = []
    others = [group for group in groups if not any(group is each for each in used)]
    if others:
        count = sum(group.images for group in others)
        has = ", ".join(sorted({str(group.channels) for group in others}))
        remarks.append(
            f"{count:,} images have {has} channels where the flags say {channels}: they will count "
            "as bad files"
        )
    if len({group.values.kind for group in used}) > 1:
        kinds = ", ".join(f"{group.images:,} {group.values.kind}" for group in used)
        remarks.append(
            f"the images are of several types ({kinds}): check that black and white of one are "
            "those of the others; 8-bit images keep their 0 to 255"
        )
    lost = sum(int(group.values.lost.sum()) for group in deep)
    if lost:
        share = lost / sum(g.values.count.sum() + g.values.lost.sum() for g in deep)
        remarks.append(f"{share:.3g} of the values are NaN (read as black) or infinite (clipped)")
    return remarks


def _range_remarks(deep: Sequence[Group], limits: tuple[float, float]) -> list[str]:
    """Return lines on values outside the range."""
    least = min(float(group.values.low.min()) for group in deep)
    most = max(float(group.values.high.max()) for group in deep)
    slack = ROUNDING * (limits[1] - limits[0])
    if limits[0] - slack <= least and most <= limits[1] + slack:
        return []
    return [
        f"value_range holds {INNER[1] - INNER[0]:g} % of the values; the rest, down to {least:g} "
        f"and up to {most:g}, is clipped"
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
        numbers = [
            group.values.low[c],
            *group.values.percentiles(SHARES, c),
            group.values.high[c],
            group.values.mean[c],
            std[c],
        ]
        rows.append((str(c), *(f"{number:.5g}" for number in numbers)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return [head] + [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
