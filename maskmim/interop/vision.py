"""Reading of frozen vision transformers, in any layout of `vision_layouts`.

Their class token has a position and DINOv2's branches have factors; both are folded into the
arrays that they act on, so that our encoder computes the same without them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maskmim.interop.difference import Shapes, WeightsError
from maskmim.interop.layout import Arrays, Entry, params_of, read_arrays, tensor
from maskmim.types import Tree

TABLE = "encoder/table"


class Layout(NamedTuple):
    """How files name the arrays of a vision transformer.

    title:     for messages.
    canonical: arrays -> arrays under the names that the entries have.
    entries:   (patch (rows, columns, channels), depth) -> entries, paths from 'encoder/' on.
    table:     (name of the position table, dimensions in front of [1 + N, D]).
    others:    pattern of names to ignore: what files hold besides the network (heads, texts,
               buffers).
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
    """Load the parameters of an encoder as numpy float32, its square position table as 'positions'.

    layouts: that the file may have; the first one whose position table is in the file is used.
    shapes:  of the encoder's parameters without the positions, by path.
    patch:   (rows, columns, channels).
    keep:    names of further arrays, which are returned under these names.
    Raises WeightsError for a file that is missing or not a safetensors file, and where names or
    shapes differ from the network's.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise WeightsError(f"no weights at {path!r}: give the safetensors file of the network")
    layout, arrays = _recognise(layouts, read_arrays(file))
    arrays = {n: a for n, a in arrays.items() if n in keep or not re.search(layout.others, n)}
    where = f"{path}, read as {layout.title}"
    missing = [name for name in keep if name not in arrays]
    if missing:
        raise WeightsError(f"{where}: the file lacks {', '.join(missing)}")
    further = {name: arrays.pop(name) for name in keep}
    shapes = {f"encoder/{name}": shape for name, shape in shapes.items()}
    arrays = _with_class_row(layout, arrays)
    entries, shapes = _with_constants(layout, shapes, patch, arrays)
    params = params_of(entries, shapes, arrays, where=where)
    return {**fold_constants(params["encoder"]), **further}


def _recognise(layouts: Sequence[Layout], arrays: Arrays) -> tuple[Layout, Arrays]:
    """Return the layout of a file's arrays, and the arrays under its names."""
    candidates = [(layout, layout.canonical(arrays)) for layout in layouts]
    matches = (pair for pair in candidates if pair[0].table[0] in pair[1])
    return next(matches, candidates[0])


def _with_class_row(layout: Layout, arrays: Arrays) -> Arrays:
    """Return the arrays with a row of zeros in a position table that has none of a class token.

    timm's models with no_embed_class have such tables.
    """
    table = arrays.get(layout.table[0])
    if table is None or table.ndim < 2:
        return arrays
    rows = table.shape[-2]
    if math.isqrt(rows) ** 2 != rows or math.isqrt(rows - 1) ** 2 == rows - 1:
        return arrays
    zeros = np.zeros_like(table[..., :1, :])
    return {**arrays, layout.table[0]: np.concatenate([zeros, table], axis=-2)}


def _with_constants(
    layout: Layout, shapes: Shapes, patch: tuple[int, int, int], arrays: Arrays
) -> tuple[list[Entry], Shapes]:
    """Return entries and shapes including the position table and the branches' factors."""
    name, lead = layout.table
    depth = next(shape[0] for path, shape in shapes.items() if path.endswith("qkv/kernel"))
    width = shapes["encoder/class_token"][-1]
    rows = arrays[name].shape[-2] if name in arrays and arrays[name].ndim > 1 else 1
    if math.isqrt(rows - 1) ** 2 != rows - 1:
        raise WeightsError(
            f"{name} has {rows - 1} positions besides the class token's: not a square grid"
        )
    entries = [*layout.entries(patch, depth), tensor(name, TABLE, lead=lead)]
    factors = {entry.path for entry in entries} - set(shapes) - {TABLE}
    return entries, {**shapes, TABLE: (rows, width), **dict.fromkeys(factors, (depth, width))}


def fold_constants(encoder: Tree) -> Tree:
    """Add the class token's position to it and multiply the branches' factors into their ends."""
    encoder = dict(encoder)
    table = encoder.pop("table")
    encoder["class_token"] = encoder["class_token"] + table[:1]
    encoder["positions"] = table[1:]
    blocks = dict(encoder.get("stack", {}).get("blocks", {}))
    if "scale1" not in blocks:
        return encoder
    first, second = blocks.pop("scale1")["scale"], blocks.pop("scale2")["scale"]
    attention, mlp = blocks["attention"], blocks["mlp"]
    blocks["attention"] = {**attention, "out": _scale_outputs(attention["out"], first)}
    blocks["mlp"] = {**mlp, "down": _scale_outputs(mlp["down"], second)}
    return {**encoder, "stack": {"blocks": blocks}}


def _scale_outputs(dense: Tree, factors: np.ndarray) -> Tree:
    """Multiply the outputs of stacked dense layers by factors [depth, D]."""
    inner = (1,) * (dense["kernel"].ndim - 2)
    kernels = dense["kernel"] * factors.reshape(len(factors), *inner, -1)
    return {"kernel": kernels, "bias": dense["bias"] * factors}
