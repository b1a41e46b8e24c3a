"""What a source of trained weights gives: a method and its arrays, whatever they were read from."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from maskmim.errors import UserError
from maskmim.interop.difference import WeightsError
from maskmim.interop.fitting import EXTRA, Selection, fit
from maskmim.interop.source import geometry_of
from maskmim.training.build import build_method
from maskmim.tree_paths import leaf_path, named_leaves
from maskmim.types import Method, Spec, Tree, Variables, random_key

# Layouts of files, and what they are of.
OWN = "maskmim"
LAYOUTS = {
    "hf": "transformers' ViTMAE or ViT",
    "timm": "timm's ViT",
    "mae": "the official MAE with its decoder",
    "dinov2": "transformers' DINOv2",
    OWN: "a folder that our export wrote",
}


class InferenceError(UserError, ValueError):
    """Something that this model cannot do, or an input that it cannot take."""


class Loaded(NamedTuple):
    """A trained method.

    variables: params and extra as numpy arrays; frozen is (), see `programs.Programs`.
    title:     of the source, for people: 'runs/a, step 800'.
    step:      of the checkpoint; None for a file of another codebase.
    workdir:   of the run; None for a file.
    remarks:   sentences for people about what the source does not say or lacks.
    decoder:   whether the weights of a decoder were read, without which nothing is reconstructed.
    layout:    of a file, one of LAYOUTS; '' for a run.
    """

    config: ConfigDict
    spec: Spec
    method: Method
    variables: Variables
    title: str
    step: int | None = None
    workdir: Path | None = None
    remarks: tuple[str, ...] = ()
    decoder: bool = True
    layout: str = ""

    @property
    def stream(self) -> str:
        """The main stream's name in `Net.grids`."""
        grids = self.method.net.grids
        return next(iter(grids)) if len(grids) == 1 else self.spec.stream

    @property
    def grid(self) -> tuple[int, ...]:
        """The token grid of the main stream."""
        return tuple(self.method.net.grids[self.stream])


def in_float32_on_cpu(config: ConfigDict) -> ConfigDict:
    """Return a copy of a config whose network computes in float32 where the device is a CPU.

    A CPU emulates bfloat16, which is slower and less exact; the stored weights are float32.
    """
    changed = config.copy_and_resolve_references()
    if jax.default_backend() == "cpu" and "compute" in changed.model:
        with changed.unlocked():
            changed.model.compute.dtype = "float32"
    return changed


def with_size(loaded: Loaded, size: tuple[int, ...]) -> tuple[Loaded, str]:
    """Return the same weights for inputs of another size, and a line for people of what changed.

    size: as of `input.size`. Learned positions and biases of positions are resized (bicubic,
    antialiased), computed positions are those of the new grid.
    Raises InferenceError where the network cannot be built for the size.
    """
    if tuple(size) == loaded.spec.size:
        return loaded, ""
    config = _sized(loaded.config, tuple(size), loaded.spec.size)
    try:
        spec, method = build_method(config)
        variables, resized = _fitted(loaded, spec, method)
    except UserError as error:
        raise InferenceError(
            f"size={sides(size)}: {' '.join(str(error).split())[:300]} (it was trained with "
            f"{sides(loaded.spec.size)})"
        ) from error
    other = loaded._replace(config=config, spec=spec, method=method, variables=variables)
    more = f" and {len(resized) - 1} more" if resized[1:] else ""
    how = f"{resized[0]}{more}, bicubic" if resized else "positions are computed anew"
    line = (
        f"{loaded.title}: trained with inputs of {sides(loaded.spec.size)}, used with "
        f"{sides(size)}, {sides(other.grid)} tokens ({how})"
    )
    return other, line


def _sized(config: ConfigDict, size: tuple[int, ...], old: tuple[int, ...]) -> ConfigDict:
    """Return a copy of a config for another input.size; other streams grow and shrink alike."""
    changed = config.copy_and_resolve_references()
    with changed.unlocked():
        changed.input.size = size
        for stream in changed.input.streams.values():
            own = stream.size
            if own is not None and len(own) == len(size) == len(old):
                stream.size = tuple(
                    n * new // was for n, new, was in zip(own, size, old, strict=True)
                )
    return changed


def _fitted(loaded: Loaded, spec: Spec, method: Method) -> tuple[Variables, tuple[str, ...]]:
    """Return the variables in the shapes of another method, and what was resized."""
    arrays = dict(named_leaves(loaded.variables.params))
    arrays |= {f"{EXTRA}{name}": leaf for name, leaf in named_leaves(loaded.variables.extra)}
    params, extra = jax.eval_shape(method.init, random_key(0))
    shapes = {name: tuple(leaf.shape) for name, leaf in named_leaves(params)}
    shapes |= {f"{EXTRA}{name}": tuple(leaf.shape) for name, leaf in named_leaves(extra)}
    old, new = geometry_of(loaded.spec, loaded.method.net), geometry_of(spec, method.net)
    everything = Selection(take=(".*",))
    taken = fit(arrays, shapes, everything, old, new, where=loaded.title)
    if taken.fresh:
        raise WeightsError(f"{loaded.title} lacks {', '.join(taken.fresh[:3])}")

    def fill(prefix: str, tree: Tree) -> Tree:
        return jax.tree.map_with_path(lambda at, _: taken.arrays[prefix + leaf_path(at)], tree)

    return Variables(fill("", params), fill(EXTRA, extra), ()), taken.resized


def sides(size: tuple[int, ...]) -> str:
    """Return a size or a grid as text: '32x32'."""
    return "x".join(map(str, size))
