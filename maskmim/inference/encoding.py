"""Features of whole examples: pooled, of single layers, or of every patch token."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from maskmim.evals.captured import pool_blocks, takes_capture
from maskmim.evals.evaluation import left_out
from maskmim.evals.features import POOLINGS, pool_class, pool_mean
from maskmim.inference.loaded import InferenceError, Loaded
from maskmim.models.layers.errors import ModelError
from maskmim.models.one_stream import token_slice
from maskmim.tree_paths import named_leaves
from maskmim.types import Array, Encoded, Tree

# The pooling of the run's own evaluations.
AS_EVALUATED = "as evaluated"


def pool_class_mean(encoded: Encoded) -> Array:
    """Return the class token beside the mean of the patch tokens: Encoded -> f32[B, 2 D].

    Source: DINO's and DINOv2's linear evaluations, which join both.
    """
    return jnp.concatenate([pool_class(encoded), pool_mean(encoded)], axis=-1)


def keep_tokens(encoded: Encoded) -> Array:
    """Return every patch token: Encoded -> f32[B, K, D]."""
    return encoded.tokens.astype(jnp.float32)


POOLINGS_HERE: Mapping[str, Callable[[Encoded], Array]] = {
    **POOLINGS,
    "class_mean": pool_class_mean,
}


def pooling_of(name: str | None, loaded: Loaded) -> tuple[str, Callable[[Encoded], Array]]:
    """Return the pooling of a name, and the name; None keeps every patch token.

    Raises InferenceError for an unknown name, and where the encoder lacks a class token.
    """
    if name is None:
        return "tokens", keep_tokens
    if not isinstance(name, str):
        raise InferenceError(f"pooling={name!r}: give a name, as 'mean', or None")
    name = loaded.config.evals.pooling if name == AS_EVALUATED else name
    if name not in POOLINGS_HERE:
        known = ", ".join(map(repr, POOLINGS_HERE))
        raise InferenceError(
            f"pooling={name!r}: use one of {known}; for every patch token None, in commands tokens"
        )
    if "class" in name and has_registers_alone(loaded.variables.params):
        raise InferenceError(
            f"pooling={name!r} needs a class token, this encoder has registers alone: use 'mean'"
        )
    pool = POOLINGS_HERE[name]

    def run(encoded: Encoded) -> Array:
        if "class" in name and not encoded.prefix.shape[1]:
            raise InferenceError(
                f"pooling={name!r} needs a class token, this encoder has none: use 'mean'"
            )
        return pool(encoded)

    return name, run


def has_registers_alone(params: Tree) -> bool:
    """Return whether an encoder has registers and no class token, which look the same."""
    names = {path.rpartition("/")[2] for path, _ in named_leaves(params)}
    return "registers" in names and "class_token" not in names


def check_capture(loaded: Loaded, what: str) -> None:
    """Raise InferenceError where the method's encoder returns nothing besides its output.

    what: is wanted, for the message.
    """
    if not takes_capture(loaded.method.apply["encode"]):
        raise InferenceError(
            f"{what}: the encoder of {method_name(loaded)} gives its last tokens alone; use "
            "encode(images) or features_map(images) without layers"
        )


def method_name(loaded: Loaded) -> str:
    """Return the name of the method's function."""
    return loaded.config.method.rpartition(".")[2]


def encoded_by(loaded: Loaded, capture: tuple[str, ...] = ()) -> Callable[..., Encoded]:
    """Return (variables, arrays) -> Encoded of whole examples, by the streams of evaluations."""
    encode, without = loaded.method.apply["encode"], left_out(loaded.config, loaded.spec)
    options = {"capture": capture} if capture else {}

    def run(variables: Tree, arrays: Mapping[str, Array]) -> Encoded:
        given = {name: array for name, array in arrays.items() if name not in without}
        try:
            return encode(variables, given, **options)
        except ModelError as error:
            if not capture:
                raise
            raise InferenceError(
                f"{network_name(loaded)} returns no {' and '.join(capture)} ({error}): use encode "
                "or features_map without layers"
            ) from error

    return run


def network_name(loaded: Loaded) -> str:
    """Return the name of the network's function."""
    return loaded.config.model.brick.rpartition(".")[2]


def pooled_by(
    loaded: Loaded, pool: Callable[[Encoded], Array], layers: tuple[int, ...] | None
) -> Callable[..., Array]:
    """Return (variables, arrays) -> pooled features; of layers f32[B, layers, ...].

    layers: blocks, negative ones from the last; None for the encoder's output behind its last norm.
    """
    if layers is None:
        encode = encoded_by(loaded)
        return lambda variables, arrays: pool(encode(variables, arrays))
    check_capture(loaded, f"layers={layers}")
    encode = encoded_by(loaded, ("layers",))

    def run(variables: Tree, arrays: Mapping[str, Array]) -> Array:
        encoded = encode(variables, arrays)
        chosen = [block_number(layer, len(encoded.layers)) for layer in layers]
        return pool_blocks(encoded, pool, chosen)

    return run


def block_number(layer: int, depth: int) -> int:
    """Return the index of a block, counted from the last where negative.

    Raises InferenceError for what is no number of a block.
    """
    if not isinstance(layer, int | np.integer) or not -depth <= layer < depth:
        raise InferenceError(
            f"layer={layer!r}: the blocks are 0 to {depth - 1}, or -1 (the last) to {-depth}"
        )
    return layer % depth


def as_layers(layers: Sequence[int] | int | None) -> tuple[int, ...] | None:
    """Return layers as a tuple; raise InferenceError for what are no whole numbers."""
    if layers is None:
        return None
    numbers = tuple(layers) if isinstance(layers, Sequence) else (layers,)
    if not numbers or not all(isinstance(number, int) for number in numbers):
        raise InferenceError(
            f"layers={layers!r}: give numbers of blocks, as layers=(-1, -4), or None for the output"
        )
    return numbers


def stream_tokens(loaded: Loaded, stream: str | None) -> tuple[str, slice, tuple[int, ...]]:
    """Return a stream's name, where its tokens stand among the encoded ones, and its grid.

    stream: None for the main one. Raises InferenceError for one that does not enter the encoder.
    """
    without = left_out(loaded.config, loaded.spec)
    grids = {
        name: tuple(grid)
        for name, grid in loaded.method.net.grids.items()
        if len(loaded.method.net.grids) == 1 or name not in without
    }
    name = stream or (loaded.stream if loaded.stream in grids else next(iter(grids)))
    if name not in grids:
        raise InferenceError(f"stream={name!r}: the encoder sees {', '.join(grids)}; name one")
    return name, token_slice(grids, name), grids[name]


def on_grid(tokens: Array, grid: tuple[int, ...], axis: int) -> Array:
    """Return an array whose axis of tokens is split into those of their grid.

    Raises InferenceError where the tokens are not those of the grid.
    """
    if tokens.shape[axis] != math.prod(grid):
        raise InferenceError(
            f"this encoder returns {tokens.shape[axis]} tokens for a grid of "
            f"{'x'.join(map(str, grid))}: its output is no map; use encode(images)"
        )
    return tokens.reshape(*tokens.shape[:axis], *grid, *tokens.shape[axis + 1 :])
