"""Features of every block of an encoder, from one pass over the images."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp

from maskmim.config.parse import ConfigError
from maskmim.evals.features import Split, Unsuitable, pooling_by_name
from maskmim.evals.trained import Trained, batch_shares
from maskmim.models.layers.errors import ModelError
from maskmim.training.sharding import on_mesh
from maskmim.types import Array, Encoded, Method, Tree, Variables

Encode = Callable[[Tree, Mapping[str, Array]], Encoded]


def takes_capture(encode: Callable) -> bool:
    """Return whether a method's encoder can return more than its last tokens."""
    parameters = inspect.signature(encode).parameters.values()
    return any(p.name == "capture" or p.kind is p.VAR_KEYWORD for p in parameters)


def capturing(method: Method, names: tuple[str, ...]) -> Encode:
    """Return (variables, arrays) -> Encoded with captures, see `Net.encode`.

    Raises Unsuitable where the encoder captures nothing, the returned function where it does not
    capture these.
    """
    encode = method.apply["encode"]
    if not takes_capture(encode):
        raise Unsuitable("it needs the outputs of blocks, and this method gives the last one alone")

    def run(variables: Tree, arrays: Mapping[str, Array]) -> Encoded:
        try:
            return encode(variables, arrays, capture=names)
        except ModelError as error:
            raise Unsuitable(f"it needs the outputs of blocks of equal width: {error}") from error

    return run


def pool_blocks(encoded: Encoded, pool: Callable[[Encoded], Array], blocks: Sequence[int]) -> Array:
    """Return the pooled outputs of some captured blocks, [B, blocks, ...]."""
    prefix = encoded.prefix.shape[1]
    outputs = (encoded.layers[block] for block in blocks)
    rows = [pool(Encoded(each[:, :prefix], each[:, prefix:])) for each in outputs]
    return jnp.stack(rows, axis=1)


def traced(trained: Trained, encode: Encode) -> Encoded:
    """Return the shapes that an encoder returns for a small batch, as `jax.ShapeDtypeStruct`."""
    shapes = trained.images.shapes(batch_shares(trained.mesh))
    arrays = {name: shape for name, shape in shapes.items() if name not in trained.without}
    return jax.eval_shape(on_mesh(encode, trained.mesh), trained.variables, arrays)


def chosen_blocks(trained: Trained, blocks: Sequence[int]) -> tuple[int, ...]:
    """Return the numbers of some blocks of the encoder in ascending order, each once.

    blocks: from 0, negative ones from the last; () for all.
    Raises ConfigError for a block that does not exist, Unsuitable as `capturing`.
    """
    depth = traced(trained, capturing(trained.method, ("layers",))).layers.shape[0]
    for block in blocks:
        if not -depth <= block < depth:
            raise ConfigError(
                f"there is no block {block}: use 0 to {depth - 1}, or -1 (the last) to -{depth}"
            )
    return tuple(sorted({block % depth for block in blocks} or range(depth)))


def block_features(
    trained: Trained,
    blocks: Sequence[int],
    batches: Iterable[Mapping],
    variables: Variables | None = None,
) -> Split:
    """Return f32[n, blocks, D], the pooled outputs of some blocks, before the encoder's last norm.

    blocks:    as of `chosen_blocks`. batches: of which the valid rows count.
    variables: None for those of the step.
    """
    encode, pool = capturing(trained.method, ("layers",)), pooling_by_name(trained.pooling)

    def run(variables: Tree, arrays: Mapping[str, Array]) -> Array:
        return pool_blocks(encode(variables, arrays), pool, blocks)

    return trained.rows_by(run, trained.variables if variables is None else variables, batches)
