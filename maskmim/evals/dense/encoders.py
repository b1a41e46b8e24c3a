"""The encoders of an evaluation at every place: the trained one, and those it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import numpy as np

from maskmim.evals.dense.problem import FrozenEncoder
from maskmim.evals.features import Unsuitable
from maskmim.evals.trained import Trained
from maskmim.models.dense_heads import Maps
from maskmim.models.feature_maps import captured_by, maps_of
from maskmim.models.layers.patches import patchify
from maskmim.models.net import input_conversions
from maskmim.types import Array, Tree

OURS = ""
Beside = tuple[Literal["random_init", "raw_colours"], ...]


def encoders_of(
    trained: Trained, layers: tuple[float, ...], beside: Beside
) -> dict[str, FrozenEncoder]:
    """Return the trained encoder under '' and those of `beside`, by name.

    layers: blocks that are read, see `feature_maps.maps_of`.
    random_init: the encoder before training, by the seed of the run. raw_colours: the colours of
    the pixels of each patch, in normalised units, on the grid of the encoder.
    Raises Unsuitable where the encoder's output is no map of a picture.
    """
    trained_maps = _maps_by(trained, layers)
    made = {OURS: FrozenEncoder(trained.variables, trained_maps)}
    if "random_init" in beside:
        made["random_init"] = FrozenEncoder(trained.before(), trained_maps)
    if "raw_colours" in beside:
        made["raw_colours"] = FrozenEncoder((), _raw_colours(trained, max(len(layers), 1)))
    return made


def _maps_by(trained: Trained, layers: tuple[float, ...]) -> Callable[[Tree, Array], Maps]:
    """Return (variables, pictures) -> maps of features by the method's encoder."""
    encode, spec, grid = trained.method.apply["encode"], trained.spec, grid_of(trained)
    shape = (1, *spec.shape)
    blank = {spec.stream: jax.ShapeDtypeStruct(shape, np.dtype(spec.dtype))}
    capture = captured_by(encode, trained.variables, blank, layers=layers)
    options = {"capture": capture} if capture else {}

    def maps(variables: Tree, pictures: Array) -> Maps:
        encoded = encode(variables, {spec.stream: pictures}, **options)
        return maps_of(encoded, grid, layers=layers)

    jax.eval_shape(maps, trained.variables, blank[spec.stream])
    return maps


def grid_of(trained: Trained) -> tuple[int, int]:
    """Return the token grid of pictures; raise Unsuitable where they have none."""
    grid = tuple(trained.method.net.grids.get(trained.spec.stream, ()))
    if len(grid) != 2:
        raise Unsuitable(
            f"it needs a grid of rows and columns of tokens, and {trained.spec.stream!r} has "
            f"{'x'.join(map(str, grid)) or 'none'}: use it with a run on images"
        )
    return grid


def _raw_colours(trained: Trained, count: int) -> Callable[[Tree, Array], Maps]:
    """Return the patches themselves, `count` times, as maps of features."""
    spec, grid = trained.spec, grid_of(trained)
    inputs, _ = input_conversions(spec)
    side = tuple(length // cells for length, cells in zip(spec.size, grid, strict=True))

    def maps(variables: Tree, pictures: Array) -> Maps:
        patches = patchify(inputs({spec.stream: pictures}), side)
        return (patches.reshape(len(patches), *grid, -1),) * count

    return maps
