"""Reading vision transformers that stay as they are, for any layout of `vision_layouts`.

Their class token has a position of its own and DINOv2's branches have factors; both are
multiplied and added into what they act on, which computes the same with nothing to remember.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maskmim.interop.difference import check_equal
from maskmim.interop.layout import Arrays, Entry, Shapes, WeightsError, params_of, read, same
from maskmim.types import Tree

TABLE = "encoder/table"


class Layout(NamedTuple):
    """How files name the arrays of a vision transformer.

    title:     for messages.
    canonical: arrays -> arrays under the names that the entries have.
    entries:   (patch (rows, columns, channels), depth) -> entries, paths from 'encoder/' on.
    table:     (name of the position table, dimensions in front of [1 + N, D]).
    others:    pattern of names that files may have beside the network (heads, texts, buffers).
    """

    title: str
    canonical: Callable[[Arrays], Arrays]
    entries: Callable[[tuple[int, int, int], int], Sequence[Entry]]
    table: tuple[str, int]
    others: str


def load(
    layouts: Sequence[Layout],
    path: str,
    shapes: Shapes,
    patch: tuple[int, int, int],
    *,
    keep: Sequence[str] = (),
) -> Tree:
    """The parameters of an encoder as numpy float32, its square position table as 'positions'.

    layouts: that the file may have; the first whose position table is there is taken.
    shapes:  of the encoder's parameters without the positions, by path.
    patch:   (rows, columns, channels).
    keep:    names of further arrays, which are returned under these names.
    Raises WeightsError for a file that is missing or no safetensors file, and where names or
    shapes differ from the network's.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise WeightsError(f"no weights at {path!r}: give the safetensors file of the network")
    layout, arrays = _recognised(layouts, read(file))
    arrays = {n: a for n, a in arrays.items() if n in keep or not re.search(layout.others, n)}
    where = f"{path}, read as {layout.title}"
    missing = [name for name in keep if name not in arrays]
    if missing:
        raise WeightsError(f"{where}: there is no {', '.join(missing)}")
    kept = {name: arrays.pop(name) for name in keep}
    shapes = {f"encoder/{own}": shape for own, shape in shapes.items()}
    entries, shapes = _complete(layout, shapes, patch, arrays)
    check_equal(_expected(entries, shapes), {n: a.shape for n, a in arrays.items()}, where)
    return {**simplified(params_of(entries, shapes, arrays)["encoder"]), **kept}


def _recognised(layouts: Sequence[Layout], given: Arrays) -> tuple[Layout, Arrays]:
    """The layout of a file's arrays, and the arrays under its names."""
    spelt = [(layout, layout.canonical(given)) for layout in layouts]
    return next((found for found in spelt if found[0].table[0] in found[1]), spelt[0])


def _complete(
    layout: Layout, shapes: Shapes, patch: tuple[int, int, int], arrays: Arrays
) -> tuple[list[Entry], Shapes]:
    """Entries and shapes with those of the position table and of the branches' factors."""
    name, lead = layout.table
    depth = next(shape[0] for path, shape in shapes.items() if path.endswith("qkv/kernel"))
    width = shapes["encoder/class_token"][-1]
    rows = arrays[name].shape[-2] if name in arrays and arrays[name].ndim > 1 else 1
    if math.isqrt(rows - 1) ** 2 != rows - 1:
        raise WeightsError(f"{name} has {rows - 1} places beside the class token's: no square grid")
    entries = [*layout.entries(patch, depth), same(name, TABLE, lead=lead)]
    factors = {entry.path for entry in entries} - set(shapes) - {TABLE}
    return entries, {**shapes, TABLE: (rows, width), **dict.fromkeys(factors, (depth, width))}


def _expected(entries: Sequence[Entry], shapes: Shapes) -> Shapes:
    blank = {path: np.broadcast_to(np.float32(0), shape) for path, shape in shapes.items()}
    return {entry.name: entry.theirs_of(blank[entry.path][entry.index]).shape for entry in entries}


def simplified(encoder: Tree) -> Tree:
    """The class token's position added to it, the branches' factors multiplied into their ends."""
    encoder = dict(encoder)
    table = encoder.pop("table")
    encoder["class_token"] = encoder["class_token"] + table[:1]
    encoder["positions"] = table[1:]
    blocks = dict(encoder.get("stack", {}).get("blocks", {}))
    if "scale1" not in blocks:
        return encoder
    first, second = blocks.pop("scale1")["scale"], blocks.pop("scale2")["scale"]
    attention, mlp = blocks["attention"], blocks["mlp"]
    blocks["attention"] = {**attention, "out": _times(attention["out"], first)}
    blocks["mlp"] = {**mlp, "down": _times(mlp["down"], second)}
    return {**encoder, "stack": {"blocks": blocks}}


def _times(dense: Tree, factors: np.ndarray) -> Tree:
    """Stacked dense layers times factors [depth, D] of what leaves them."""
    inner = (1,) * (dense["kernel"].ndim - 2)
    kernels = dense["kernel"] * factors.reshape(len(factors), *inner, -1)
    return {"kernel": kernels, "bias": dense["bias"] * factors}
