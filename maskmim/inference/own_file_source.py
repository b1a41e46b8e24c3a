"""A folder that our export wrote as a source: parameters by their paths, and the run's config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np

from maskmim.config.serialize import from_json
from maskmim.config.upgrade import upgrade
from maskmim.inference.loaded import OWN, InferenceError, Loaded, in_float32_on_cpu
from maskmim.interop.layout import read_arrays
from maskmim.interop.source import averages
from maskmim.training.build import build_method
from maskmim.tree_paths import leaf_path, named_leaves
from maskmim.types import Tree, Variables, random_key

CONFIG = "config.json"


def of_own_file(text: str, file: Path) -> Loaded:
    """Return the method of an exported run; text: how the user named it.

    The file holds the weights that were chosen for the export, which stand for the trained and for
    every averaged copy. Raises InferenceError for a file without config.json beside it, and for one
    that lacks arrays of the encoder.
    """
    path = file.parent / CONFIG
    if not path.is_file():
        raise InferenceError(
            f"{text} holds parameters of maskmim without the config.json of their run, which says "
            "their network: put it beside the file"
        )
    config = in_float32_on_cpu(upgrade(from_json(path.read_text(encoding="utf-8"))))
    with config.unlocked():
        config.ema = None
    spec, method = build_method(config)
    arrays = read_arrays(file)
    shapes = jax.eval_shape(method.init, random_key(0))
    missing = [name for name, _ in named_leaves(shapes[0]) if name not in arrays]
    if lacking := [name for name in missing if name.startswith("encoder/")]:
        raise InferenceError(
            f"{text} lacks {lacking[0]} and {len(lacking) - 1} more arrays of the "
            "encoder that its config.json builds: export the run again"
        )
    variables = _filled(arrays, shapes, method.init)
    remarks = ("it holds no decoder",) if missing else ()
    about = {"remarks": remarks, "decoder": not missing, "layout": OWN}
    return Loaded(config, spec, method, variables, text, **about)


def _filled(
    arrays: Mapping[str, np.ndarray], shapes: tuple[Tree, Tree], init: Callable
) -> Variables:
    """Return variables with the arrays by path, and with initial ones for what these lack."""
    copies = tuple(f"{section}/" for section in averages(*shapes))
    initial = jax.jit(init)(random_key(0)) if not _covers(arrays, shapes) else shapes

    def fill(path: tuple, leaf: np.ndarray) -> np.ndarray:
        name = leaf_path(path)
        prefix = next((copy for copy in copies if name.startswith(copy)), "")
        return arrays.get(name.removeprefix(prefix), leaf)

    params, extra = (jax.tree.map_with_path(fill, tree) for tree in initial)
    return Variables(params, jax.tree.map(np.asarray, extra), ())


def _covers(arrays: Mapping[str, np.ndarray], shapes: tuple[Tree, Tree]) -> bool:
    """Return whether the arrays have every parameter, and nothing is kept besides."""
    params, extra = shapes
    held = all(name in arrays for name, _ in named_leaves(params))
    return held and not jax.tree.leaves(extra)
