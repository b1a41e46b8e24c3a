"""What layouts of weights share: which array of theirs is which slice of ours, and both ways of it.

A layout is a list of `Entry`. Loading is strict: names and shapes must match one for one, else
WeightsError lists what is missing, unexpected or of another shape.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from maskmim.errors import UserError
from maskmim.tree_paths import named_leaves
from maskmim.types import Net, Tree

Arrays = dict[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]
Source = str | os.PathLike | Mapping[str, np.ndarray]


class WeightsError(UserError, ValueError):
    """Weights that do not fit a model."""


class Entry(NamedTuple):
    """One array of another layout, which is all of one of our arrays or a slice of it.

    name:  its name there. path: of our array, 'encoder/stack/blocks/attention/qkv/kernel'.
    index: of the slice, () for all of it. ours_of, theirs_of: (array, shape wanted) -> array.
    """

    name: str
    path: str
    index: tuple
    theirs_of: Callable[[np.ndarray], np.ndarray]
    ours_of: Callable[[np.ndarray, tuple[int, ...]], np.ndarray]


def same(name: str, path: str, *, lead: int = 0) -> Entry:
    """An array of equal shape in both layouts, or there with `lead` more dimensions in front."""

    def theirs(a: np.ndarray) -> np.ndarray:
        return a.reshape((1,) * lead + a.shape)

    return Entry(name, path, (), theirs, lambda a, shape: a.reshape(shape))


def flat(name: str, path: str, index: tuple = ()) -> Entry:
    """A bias or scale: a vector there."""
    return Entry(name, path, index, lambda a: a.reshape(-1), lambda a, shape: a.reshape(shape))


def kernel(name: str, path: str, index: tuple = (), *, inputs: int = 1) -> Entry:
    """A linear map: [out, in] there; here the first `inputs` dimensions are the input's."""

    def theirs(a: np.ndarray) -> np.ndarray:
        return a.reshape(int(np.prod(a.shape[:inputs])), -1).T

    return Entry(name, path, index, theirs, lambda a, shape: a.T.reshape(shape))


def linear(there: str, here: str, index: tuple = (), *, inputs: int = 1) -> tuple[Entry, Entry]:
    """A linear map and its bias, see `kernel`."""
    bias = flat(f"{there}.bias", f"{here}/bias", index)
    return kernel(f"{there}.weight", f"{here}/kernel", index, inputs=inputs), bias


def norm(there: str, here: str, index: tuple = ()) -> tuple[Entry, Entry]:
    """The scale and bias of our `models.layers.Norm`."""
    scale = flat(f"{there}.weight", f"{here}/norm/scale", index)
    return scale, flat(f"{there}.bias", f"{here}/norm/bias", index)


def convolution(name: str, path: str, patch: tuple[int, int, int]) -> Entry:
    """A patch embedding: a kernel [out, channels, rows, columns] there.

    patch: (rows, columns, channels); here the input is a patch in that order.
    """

    def theirs(a: np.ndarray) -> np.ndarray:
        return a.reshape(*patch, -1).transpose(3, 2, 0, 1)

    return Entry(name, path, (), theirs, lambda a, shape: a.transpose(2, 3, 1, 0).reshape(shape))


def patch_of(net: Net, shapes: Shapes) -> tuple[int, int, int]:
    """(rows, columns, channels) of a patch."""
    rows, columns = net.grids["image"]
    values = shapes["encoder/embed/kernel"][0]
    blank = jax.ShapeDtypeStruct((1, rows * columns, values), np.float32)
    _, height, width, channels = jax.eval_shape(net.restore, blank).shape
    return height // rows, width // columns, channels


def shapes_of(net: Net) -> Shapes:
    """The shapes of a model's parameters by path."""
    tree = jax.eval_shape(net.init, jax.random.key(0))
    return {path: leaf.shape for path, leaf in named_leaves(tree)}


def read(source: Source) -> Arrays:
    """The arrays of a safetensors file, or a copy of a mapping; floating ones as float32.

    Raises WeightsError for a path that is no safetensors file. Files in torch's own format hold
    pickles, which are never read: convert them with safetensors.torch.save_file first.
    """
    if isinstance(source, Mapping):
        return {name: np.asarray(array, np.float32) for name, array in source.items()}
    try:
        arrays = load_file(source)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{os.fspath(source)} cannot be read as safetensors ({error}); a .pth or .bin file is "
            "a pickle: convert it once with safetensors.torch.save_file"
        ) from error
    return {name: array.astype(np.float32, copy=False) for name, array in arrays.items()}


def write(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a safetensors file whose metadata say 'pt', as transformers asks for."""
    tidy = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(tidy, path, metadata={"format": "pt"})


def check_covered(entries: Sequence[Entry], shapes: Shapes, layout: str) -> None:
    """WeightsError unless the entries and the model have the same parameters."""
    known = {entry.path for entry in entries}
    extra, lacking = sorted(set(shapes) - known), sorted(known - set(shapes))
    if extra:
        raise WeightsError(f"{layout} has no place for the model's {', '.join(extra)}")
    if lacking:
        raise WeightsError(f"{layout} needs parameters that the model lacks: {', '.join(lacking)}")


def arrays_of(entries: Sequence[Entry], params: Tree) -> Arrays:
    """Our parameters in their layout, float32."""
    leaves = {path: np.asarray(leaf, np.float32) for path, leaf in named_leaves(params)}
    return {entry.name: entry.theirs_of(leaves[entry.path][entry.index]) for entry in entries}


def params_of(entries: Sequence[Entry], shapes: Shapes, arrays: Mapping[str, np.ndarray]) -> Tree:
    """Their arrays as our parameters: nested dicts of numpy float32."""
    expected = {entry.name: _shape_there(entry, shapes) for entry in entries}
    check_equal(expected, {name: array.shape for name, array in arrays.items()})
    flat_tree = {path: np.empty(shape, np.float32) for path, shape in shapes.items()}
    for entry in entries:
        ours = flat_tree[entry.path]
        ours[entry.index] = entry.ours_of(arrays[entry.name], ours[entry.index].shape)
    return nested(flat_tree)


def _shape_there(entry: Entry, shapes: Shapes) -> tuple[int, ...]:
    memoryless = np.broadcast_to(np.float32(0), shapes[entry.path])
    return entry.theirs_of(memoryless[entry.index]).shape


def check_equal(expected: Shapes, given: Shapes) -> None:
    """WeightsError with a readable difference unless names and shapes are equal."""
    missing = [f"{name} {expected[name]}" for name in expected if name not in given]
    unexpected = [f"{name} {given[name]}" for name in given if name not in expected]
    other = [
        f"{name} {given[name]}, the model has {expected[name]}"
        for name in expected
        if name in given and tuple(given[name]) != tuple(expected[name])
    ]
    parts = {"missing": missing, "unexpected": unexpected, "of another shape": other}
    lines = [f"  {len(found)} {what}: {_few(found)}" for what, found in parts.items() if found]
    if lines:
        raise WeightsError("the weights do not fit the model:\n" + "\n".join(lines))


def _few(names: Sequence[str], most: int = 8) -> str:
    more = f"; and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more


def nested(leaves: Mapping[str, np.ndarray]) -> Tree:
    """{'a/b': array} as {'a': {'b': array}}."""
    tree: Tree = {}
    for path, leaf in leaves.items():
        *above, last = path.split("/")
        place = tree
        for name in above:
            place = place.setdefault(name, {})
        place[last] = leaf
    return tree
