"""Layouts of weights: which array of theirs is which slice of ours, and conversion both ways.

A layout is a list of `Entry`. Loading is strict: names and shapes must match one for one, else
WeightsError lists what is missing, unexpected or of another shape.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from maskmim.interop.difference import Shapes, WeightsError, check_equal
from maskmim.tree_paths import named_leaves
from maskmim.types import Net, Tree, random_key

Arrays = dict[str, np.ndarray]
Source = str | os.PathLike | Mapping[str, np.ndarray]

# What safetensors calls numbers that numpy, with jax's bfloat16, does not have.
UNREAD = ("F8_", "F4", "F6_")


class Entry(NamedTuple):
    """One array of another layout, which is all of one of our arrays or a slice of it.

    name:      its name in the other layout.
    path:      of our array, 'encoder/stack/blocks/attention/qkv/kernel'.
    index:     of the slice, () for all of it.
    theirs_of: our slice -> their array.
    ours_of:   (their array, shape of our slice) -> our slice.
    """

    name: str
    path: str
    index: tuple
    theirs_of: Callable[[np.ndarray], np.ndarray]
    ours_of: Callable[[np.ndarray, tuple[int, ...]], np.ndarray]


def tensor(name: str, path: str, *, lead: int = 0) -> Entry:
    """Return the entry of an array of equal shape; theirs has `lead` more dimensions in front."""

    def theirs(a: np.ndarray) -> np.ndarray:
        return a.reshape((1,) * lead + a.shape)

    return Entry(name, path, (), theirs, lambda a, shape: a.reshape(shape))


def vector(name: str, path: str, index: tuple = ()) -> Entry:
    """Return the entry of a bias or scale; theirs is a vector."""
    return Entry(name, path, index, lambda a: a.reshape(-1), lambda a, shape: a.reshape(shape))


def kernel(name: str, path: str, index: tuple = (), *, inputs: int = 1) -> Entry:
    """Return the entry of a linear map; theirs is [out, in].

    The first `inputs` dimensions of ours are the input's.
    """

    def theirs(a: np.ndarray) -> np.ndarray:
        return a.reshape(int(np.prod(a.shape[:inputs])), -1).T

    return Entry(name, path, index, theirs, lambda a, shape: a.T.reshape(shape))


def linear(their_name: str, path: str, index: tuple = (), *, inputs: int = 1) -> tuple[Entry, ...]:
    """Return the entries of a linear map and its bias, see `kernel`."""
    bias = vector(f"{their_name}.bias", f"{path}/bias", index)
    return kernel(f"{their_name}.weight", f"{path}/kernel", index, inputs=inputs), bias


def norm(their_name: str, path: str, index: tuple = ()) -> tuple[Entry, ...]:
    """Return the entries of the scale and bias of our `layers.blocks.Norm`."""
    scale = vector(f"{their_name}.weight", f"{path}/norm/scale", index)
    return scale, vector(f"{their_name}.bias", f"{path}/norm/bias", index)


def convolution(name: str, path: str, patch: tuple[int, int, int]) -> Entry:
    """Return the entry of a patch embedding; theirs is a kernel [out, channels, rows, columns].

    patch: (rows, columns, channels); the input dimension of ours is a patch in that order.
    """

    def theirs(a: np.ndarray) -> np.ndarray:
        return a.reshape(*patch, -1).transpose(3, 2, 0, 1)

    return Entry(name, path, (), theirs, lambda a, shape: a.transpose(2, 3, 1, 0).reshape(shape))


def patch_of(net: Net, shapes: Shapes) -> tuple[int, int, int]:
    """Return (rows, columns, channels) of a patch."""
    rows, columns = net.grids["image"]
    values = shapes["encoder/embed/kernel"][0]
    blank = jax.ShapeDtypeStruct((1, rows * columns, values), np.float32)
    _, height, width, channels = jax.eval_shape(net.restore, blank).shape
    return height // rows, width // columns, channels


def shapes_of(net: Net) -> Shapes:
    """Return the shapes of a model's parameters by path."""
    tree = jax.eval_shape(net.init, random_key(0))
    return {path: leaf.shape for path, leaf in named_leaves(tree)}


def read_arrays(source: Source) -> Arrays:
    """Read a safetensors file, or copy a mapping; floats of any precision become float32.

    Raises WeightsError for a path that is not a safetensors file, and for numbers of 8 bits or
    fewer. Files in torch's own format hold pickles, which are never read: convert them with
    safetensors.torch.save_file first.
    """
    if isinstance(source, Mapping):
        return {name: _as_float32(np.asarray(array)) for name, array in source.items()}
    try:
        with safe_open(source, framework="np") as file:
            for name in file.keys():  # noqa: SIM118, a file is no dictionary
                _check_readable(source, name, file.get_slice(name).get_dtype())
            arrays = file.get_tensors()
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{os.fspath(source)} cannot be read as safetensors ({error}); a .pth or .bin file is "
            "a pickle: convert it once with safetensors.torch.save_file"
        ) from error
    return {name: _as_float32(array) for name, array in arrays.items()}


def _check_readable(source: Source, name: str, dtype: str) -> None:
    if dtype.startswith(UNREAD):
        raise WeightsError(
            f"{os.fspath(source)}: {name} has numbers of the type {dtype}, which need scales to be "
            "read: convert the weights to float32, float16 or bfloat16"
        )


def _as_float32(array: np.ndarray) -> np.ndarray:
    """Return floats as float32; integers stay, as they may be quantised weights."""
    is_float = jax.dtypes.issubdtype(array.dtype, np.floating)
    return array.astype(np.float32, copy=False) if is_float else array


def write_arrays(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a safetensors file with the metadata format 'pt', which transformers requires."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(contiguous, path, metadata={"format": "pt"})


def check_covered(entries: Sequence[Entry], shapes: Shapes, layout: str) -> None:
    """Raise WeightsError unless the entries and the model have the same parameters."""
    covered = {entry.path for entry in entries}
    extra, lacking = sorted(set(shapes) - covered), sorted(covered - set(shapes))
    if extra:
        raise WeightsError(f"{layout} has no place for the model's {', '.join(extra)}")
    if lacking:
        raise WeightsError(f"{layout} needs parameters that the model lacks: {', '.join(lacking)}")


def arrays_of(entries: Sequence[Entry], params: Tree) -> Arrays:
    """Convert our parameters to the other layout, float32."""
    leaves = {path: np.asarray(leaf, np.float32) for path, leaf in named_leaves(params)}
    return {entry.name: entry.theirs_of(leaves[entry.path][entry.index]) for entry in entries}


def params_of(
    entries: Sequence[Entry],
    shapes: Shapes,
    arrays: Mapping[str, np.ndarray],
    *,
    where: str = "arrays",
) -> Tree:
    """Convert arrays of the other layout to our parameters: nested dicts of numpy float32.

    Raises WeightsError, which names the source `where`, unless names and shapes match.
    """
    expected = {entry.name: _their_shape(entry, shapes) for entry in entries}
    check_equal(expected, {name: array.shape for name, array in arrays.items()}, where)
    for name, array in arrays.items():
        if not np.issubdtype(array.dtype, np.floating):
            raise WeightsError(
                f"{where}: {name} is {array.dtype}, not floats: quantised weights are not read, "
                "convert them to float32, float16 or bfloat16"
            )
    leaves = {path: np.empty(shape, np.float32) for path, shape in shapes.items()}
    for entry in entries:
        leaf = leaves[entry.path]
        leaf[entry.index] = entry.ours_of(arrays[entry.name], leaf[entry.index].shape)
    return nest(leaves)


def _their_shape(entry: Entry, shapes: Shapes) -> tuple[int, ...]:
    memoryless = np.broadcast_to(np.float32(0), shapes[entry.path])
    return entry.theirs_of(memoryless[entry.index]).shape


def nest(leaves: Mapping[str, np.ndarray]) -> Tree:
    """Nest {'a/b': array} as {'a': {'b': array}}."""
    tree: Tree = {}
    for path, leaf in leaves.items():
        *parents, last = path.split("/")
        branch = tree
        for name in parents:
            branch = branch.setdefault(name, {})
        branch[last] = leaf
    return tree
