"""Which arrays of a source a network takes by their paths, and how tables of another grid fit.

Paths are those of params, 'encoder/class_token', and of extra after 'extra/'.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from maskmim.interop.difference import Shapes, WeightsError
from maskmim.models.layers.relative_position import CLASS_TOKEN_ROWS
from maskmim.models.layers.resized_positions import Grid, resize_offsets, resize_table
from maskmim.tree_paths import grouped_paths

EXTRA = "extra/"
MOST_LINES = 6  # Of a message that lists arrays.
MOST_NAMES = 12  # Of a message that lists the names of a section.
MOST_FRESH = 4  # Places that a message offers to leave fresh.
# Tables with a row for each step along one axis, by their last name.
ALONG_AXIS = ("time_positions", "row_positions", "column_positions")


class Selection(NamedTuple):
    """Which paths to take: `config.begin.take` and `.fresh`, regular expressions.

    One that matches the beginning of a path up to a '/', or all of it, means what is below.
    """

    take: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()

    def takes(self, path: str) -> bool:
        """Return whether a path is taken; one of extra only where `take` names it."""
        wanted = any(matches(pattern, path) for pattern in self.take)
        by_default = not self.take and not path.startswith(EXTRA)
        return (wanted or by_default) and not any(matches(p, path) for p in self.fresh)


def matches(pattern: str, path: str) -> bool:
    """Return whether a pattern matches a path, or a section that the path lies in."""
    return re.match(rf"(?:{pattern.rstrip('/')})(?:/|$)", path) is not None


class Geometry(NamedTuple):
    """The tokens that a network cuts an example into.

    grids: of each stream, see `Net.grids`. unit: sides of a token of the main stream and its
    channels; () where unknown.
    """

    grids: Mapping[str, Grid]
    unit: tuple[int, ...] = ()

    def grid_of(self, path: str) -> Grid | None:
        """Return the grid of a table: the only one, or that of the stream in its path."""
        if len(self.grids) == 1:
            return tuple(next(iter(self.grids.values())))
        named = [name for name in self.grids if re.search(rf"(^|[/_]){name}([/_]|$)", path)]
        return tuple(self.grids[named[0]]) if len(named) == 1 else None


class Taken(NamedTuple):
    """What a network takes of a source.

    arrays:  by path, of the network's shapes. resized: 'encoder/positions 4x4 -> 6x6'.
    fresh:   paths of the network that are not taken. unused: paths of the source that are not.
    """

    arrays: dict[str, np.ndarray]
    resized: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]


def fit(
    arrays: Mapping[str, np.ndarray],
    shapes: Shapes,
    selection: Selection,
    old: Geometry,
    new: Geometry,
    *,
    where: str,
) -> Taken:
    """Return what a network takes of a source's arrays.

    arrays, shapes: of the source and of the network, by path. where: the source, for messages.
    Learned positions and relative position biases of another grid are resized, bicubic and
    antialiased. Raises WeightsError for patterns that match nothing, for every other difference of
    shapes, for an embedding of other patches, for inf and nan, and where nothing is taken.
    """
    check_patterns(selection, shapes, arrays, where)
    chosen = [path for path in arrays if path in shapes and selection.takes(path)]
    taken, resized, wrong = {}, [], []
    for path in chosen:
        array, sides = fit_table(path, arrays[path], shapes[path], old, new)
        if array.shape != tuple(shapes[path]):
            theirs = arrays[path].shape
            wrong.append(f"{path}: {theirs} in the source, {tuple(shapes[path])} here")
            continue
        if sides:
            resized.append(f"{path} {sides}")
        taken[path] = array
    if wrong:
        raise WeightsError(_misfit(where, wrong, shapes))
    check_unit(taken, old.unit, new.unit, where)
    check_finite(taken, where)
    if not taken:
        raise WeightsError(_nothing(where, arrays, shapes))
    fresh = tuple(path for path in shapes if path not in taken)
    unused = tuple(path for path in arrays if path not in taken)
    return Taken(taken, tuple(resized), fresh, unused)


def check_patterns(selection: Selection, shapes: Shapes, arrays: Iterable[str], where: str) -> None:
    """Raise WeightsError for a pattern that matches no path of the network, or none of both."""
    check_names(selection, shapes)
    held = set(arrays)
    for pattern in selection.take:
        if not any(matches(pattern, path) for path in shapes if path in held):
            raise WeightsError(
                f"begin.take has {pattern!r}, but {where} has only "
                f"{', '.join(top_names(held))}: leave {pattern!r} out of begin.take"
            )


def check_names(selection: Selection, shapes: Iterable[str]) -> None:
    """Raise WeightsError for a pattern that matches no path of the network."""
    paths = list(shapes)
    for key, patterns in selection._asdict().items():
        for pattern in patterns:
            if not any(matches(pattern, path) for path in paths):
                raise WeightsError(
                    f"begin.{key} has {pattern!r}, which matches nothing of this network: "
                    f"{_names_near(pattern, paths)}; names below are separated by '/'"
                )


def _names_near(pattern: str, paths: Iterable[str]) -> str:
    """Return what stands below the longest beginning of a pattern that exists, the nearest first.

    'below encoder it has embed, stack' for 'encoder/embd'.
    """
    parts = pattern.rstrip("/").split("/")
    depth, names, where = 0, top_names(paths), "it"
    for end in range(1, len(parts)):
        prefix = "/".join(parts[:end])
        inside = [path for path in paths if path.startswith(f"{prefix}/")]
        if inside:
            depth, where = end, f"below {prefix} it"
            names = sorted({path.split("/")[end] for path in inside})
    nearest = difflib.get_close_matches(parts[depth], names, len(names), 0.0)
    more = f" and {len(names) - MOST_NAMES} more" if names[MOST_NAMES:] else ""
    return f"{where} has {', '.join(nearest[:MOST_NAMES])}{more}"


def top_names(paths: Iterable[str]) -> list[str]:
    """Return the first names of paths, and the first two of extra, sorted."""
    parts = (path.split("/") for path in paths)
    return sorted({"/".join(names[: 2 if names[0] == "extra" else 1]) for names in parts})


def fit_table(
    path: str, array: np.ndarray, shape: tuple[int, ...], old: Geometry, new: Geometry
) -> tuple[np.ndarray, str]:
    """Return a table of the new grid and '4x4 -> 6x6'; the array and '' where nothing changes.

    A table that cannot be resized stays as it is.
    """
    name = path.rpartition("/")[2]
    if array.ndim < 2 or len(shape) != array.ndim:
        return array, ""
    rows = array.shape[-2], shape[-2]
    if name in ALONG_AXIS:
        grids, resize = ((rows[0],), (rows[1],)), resize_table
    elif name == "positions":
        grids, resize = (old.grid_of(path), new.grid_of(path)), resize_table
        if not _same_rest(rows, grids, math.prod):
            return array, ""
    elif name == "relative_bias":
        grids, last = _offset_grids(rows, (old.grid_of(path), new.grid_of(path)))
        resize = partial(resize_offsets, last=last)
    else:
        return array, ""
    before, after = grids
    if before is None or after is None or before == after:
        return array, ""
    return resize(array, before, after), f"{_sides(before)} -> {_sides(after)}"


def _same_rest(rows: tuple[int, int], grids: tuple, count: Callable[[Grid], int]) -> bool:
    """Return whether two tables have equally many rows besides those of their grids."""
    if None in grids or len(grids[0]) != len(grids[1]):
        return False
    old, new = (number - count(grid) for number, grid in zip(rows, grids, strict=True))
    return old == new >= 0


def _offset_grids(rows: tuple[int, int], grids: tuple) -> tuple[tuple, int]:
    """Return the grids of two tables of offsets, and their rows of a class token.

    The grids are those of all tokens, or else of square windows; (None, None) for neither.
    """
    if _same_rest(rows, grids, _offsets):
        last = rows[0] - _offsets(grids[0])
        if last in (0, CLASS_TOKEN_ROWS):
            return grids, last
    sides = [math.isqrt(number) for number in rows]
    if all(side % 2 and side**2 == number for side, number in zip(sides, rows, strict=True)):
        return tuple(((side + 1) // 2,) * 2 for side in sides), 0
    return (None, None), 0


def _offsets(grid: Grid) -> int:
    return math.prod(2 * side - 1 for side in grid)


def _sides(grid: Grid) -> str:
    return "x".join(map(str, grid))


def check_unit(
    taken: Mapping[str, np.ndarray], old: tuple[int, ...], new: tuple[int, ...], where: str
) -> None:
    """Raise WeightsError where an embedding or a head of pixels is of patches of another form.

    Patches of 8 x 8 and 4 x 16 pixels have equally many values in another order.
    """
    if not old or old == new:
        return
    values = math.prod(new)
    pixels = [
        path
        for path, array in taken.items()
        if (path.endswith("embed/kernel") and array.shape[-2:-1] == (values,))
        or (re.search(r"head_pixels/(kernel|bias)$", path) and array.shape[-1] == values)
    ]
    if pixels:
        fresh = grouped_paths(pixels, taken)
        raise WeightsError(
            f"{where} is of tokens of {_sides(old[:-1])} with {old[-1]} channels, this network's "
            f"are {_sides(new[:-1])} with {new[-1]}: {', '.join(pixels)} mean other pixels. Set "
            f"the patch to that of the source, or --config.begin.fresh={','.join(fresh)}"
        )


def check_finite(taken: Mapping[str, np.ndarray], where: str) -> None:
    """Raise WeightsError where an array holds inf or nan: no step would be finite."""
    if bad := [path for path, array in taken.items() if not np.all(np.isfinite(array))]:
        more = f" and {len(bad) - 1} more" if bad[1:] else ""
        raise WeightsError(
            f"{where}: {bad[0]}{more} holds inf or nan: begin from weights of before that, or let "
            f"it stay fresh with --config.begin.fresh={bad[0]}"
        )


def _misfit(where: str, wrong: list[str], shapes: Iterable[str]) -> str:
    """Return what is wrong; where it is in a few places, the flag that leaves them fresh."""
    fresh = grouped_paths([line.partition(":")[0] for line in wrong], shapes)
    more = [f"and {len(wrong) - MOST_LINES} more"] if wrong[MOST_LINES:] else []
    listed = "\n  ".join([*wrong[:MOST_LINES], *more])
    flag = f"--config.begin.fresh={','.join(fresh)}"
    way_out = f", or let these stay fresh: {flag}" if len(fresh) <= MOST_FRESH else ""
    return (
        f"{where}: arrays of other shapes than this network's:\n  {listed}\nBuild the network that "
        f"they were made for (variant, patch, input.channels){way_out}"
    )


def _nothing(where: str, arrays: Iterable[str], shapes: Iterable[str]) -> str:
    return (
        f"{where}: nothing to begin with: it has {', '.join(top_names(arrays)) or 'no arrays'}, "
        f"this network {', '.join(top_names(shapes))}, and no path that begin.take and begin.fresh "
        "leave is in both"
    )


def condensed(paths: Iterable[str], every: Iterable[str], *, most: int = MOST_LINES) -> str:
    """Return paths in few words: a section whose paths are all among them stands for them.

    every: all paths that there are.
    """
    # Parts of extra are named one by one, even where all of them are meant.
    names = grouped_paths(paths, (*every, EXTRA))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
