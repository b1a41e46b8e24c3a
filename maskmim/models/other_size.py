"""One network for inputs of several sizes: shared params, learned positions resized."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from maskmim.models.layers.resized_positions import with_offset
from maskmim.tree_paths import leaf_path
from maskmim.types import Array, Net, Spec, Tree


def resize_net(
    model: Callable[[Spec], Net],
    spec: Spec,
    size: tuple[int, int],
    *,
    resize: Callable[..., Array] = with_offset,
) -> Net:
    """Build the network of `spec` for pictures of another size, which takes params of the first.

    resize: (table f32[N, D], old grid, new grid) -> table, by default as DINO, see
            `resized_positions`.
    Arrays named 'positions' are resized at every call, and gradients pass through. Computed
    positions are those of the new grid.
    Raises ModelError where the model cannot be built for the size.
    """
    first, other = model(spec), model(spec._replace(size=tuple(size)))
    old, new = first.grids[spec.stream], other.grids[spec.stream]

    def resized(params: Tree) -> Tree:
        def resize_leaf(path: tuple, leaf: Array) -> Array:
            learned = leaf_path(path).split("/")[-1] == "positions"
            return resize(leaf, old, new) if learned else leaf

        return params if old == new else jax.tree.map_with_path(resize_leaf, params)

    def encode(params: Tree, *arguments: Any, **keywords: Any) -> Any:
        return other.encode(resized(params), *arguments, **keywords)

    def predict(params: Tree, *arguments: Any, **keywords: Any) -> Any:
        return other.predict(resized(params), *arguments, **keywords)

    return other._replace(init=first.init, encode=encode, predict=predict)
