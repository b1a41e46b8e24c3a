"""Running averages of batch norms: from the encoder's sums to what evaluation reads.

In training an encoder normalises by its batch and returns the sums in `Encoded.sums`. A method
hands them on in `Losses.carry` (`carried_sums`), averages them in `extra` (`initial_norms`,
`updated_norms`), and evaluates with params that hold the averages (`with_norms`). Each function
does nothing for a network without such norms, so that methods need no branch:

    init:    params, {**extra, **initial_norms(net)}
    loss:    carry={**carry, **carried_sums(encoded, ...)}
    refresh: {**extra, **updated_norms(net, variables.extra, carry)}
    apply:   net.encode(with_norms(variables).params, ...)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from maskmim.models.layers.batch_norm import NORMS, SUMS, updated_average
from maskmim.models.layers.errors import ModelError
from maskmim.tree_paths import leaf_path
from maskmim.types import Encoded, Net, RunningNorms, Tree, Variables


def running_norms(
    part: str, shapes: Callable[[], Mapping[str, Tree]], *, momentum: float
) -> RunningNorms:
    """Return `Net.norms` of a network with batch norms in one of its modules.

    part:     the module's name in the params, 'encoder'.
    shapes:   () -> jax.ShapeDtypeStruct of the variables that the module's `init` returns.
    momentum: share of the averages that a step keeps, see `batch_norm.updated_average`.
    """

    def start(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        return jnp.full(leaf.shape, float(leaf_path(path).endswith("variance")), leaf.dtype)

    def init() -> Tree:
        return {part: jax.tree.map_with_path(start, dict(shapes()[NORMS]))}

    def update(averages: Tree, sums: Tree) -> Tree:
        return {part: _updated(averages[part], sums[part], momentum)}

    return RunningNorms(init, update)


def _updated(averages: Tree, sums: Tree, momentum: float) -> Tree:
    """Return the averages of a module and those inside it; one that was not called keeps them."""
    if "batch" in sums:
        return updated_average(averages, sums["batch"], momentum=momentum)
    return {
        name: _updated(average, sums[name], momentum) if name in sums else average
        for name, average in averages.items()
    }


def apply_encoder(module: nn.Module, params: Tree, *arguments: Any, part: str) -> Encoded:
    """Apply the module of params[part]: with averages where the params hold some, else with sums.

    module: returns `Encoded`, in whose `sums` those of its batch norms are put.
    """
    variables = {"params": params[part]}
    if NORMS in params:
        return module.apply({**variables, NORMS: params[NORMS][part]}, *arguments)
    encoded, written = module.apply(variables, *arguments, mutable=(SUMS,))
    return encoded._replace(sums={part: written[SUMS]}) if written else encoded


def initial_norms(net: Net) -> dict[str, Tree]:
    """Return what `extra` holds of a network's norms before the first step, {} for none."""
    return {} if net.norms is None else {NORMS: net.norms.init()}


def carried_sums(*encoded: Encoded) -> dict[str, Tree]:
    """Return what `Losses.carry` holds of the norms in one or several passes, {} for none.

    The sums of several passes, such as those of views, are added.
    """
    sums = [each.sums for each in encoded if each.sums]
    return {NORMS: reduce(lambda a, b: jax.tree.map(jnp.add, a, b), sums)} if sums else {}


def updated_norms(
    net: Net, extra: Mapping[str, Tree], carry: Mapping[str, Tree]
) -> dict[str, Tree]:
    """Return what `extra` holds of a network's norms after a step, {} for none.

    Raises ModelError where the method handed on no sums.
    """
    if net.norms is None:
        return {}
    if NORMS not in carry:
        raise ModelError(
            "the model has batch norms, but the method hands on no sums of its batches, so that "
            "evaluation would read averages that never change: use maskmim.methods.masked.masked, "
            "or a model without batch norms"
        )
    return {NORMS: net.norms.update(extra[NORMS], carry[NORMS])}


def with_norms(variables: Variables) -> Variables:
    """Return variables for evaluation: their params hold the running averages, where any are."""
    if not isinstance(variables.extra, Mapping) or NORMS not in variables.extra:
        return variables
    return variables._replace(params={**variables.params, NORMS: variables.extra[NORMS]})


def refuse_norms(net: Net, method: str) -> None:
    """Raise ModelError for a network whose norms keep averages that a method does not keep."""
    if net.norms is not None:
        raise ModelError(
            f"{method} keeps no running averages of batch norms, which evaluation of this model "
            "would need: use a model without batch norms, or maskmim.methods.masked.masked"
        )


def check_part_names(names: Iterable[str]) -> None:
    """Raise ModelError where an objective or a teacher has the name of the averages of norms."""
    if NORMS in names:
        raise ModelError(
            f"{NORMS!r} is the name of the running averages of batch norms: give the objective or "
            "teacher of this name another"
        )


def check_declared(written: Mapping[str, Any], norms: object) -> None:
    """Raise ModelError where a module's variables hold averages that its network does not declare.

    written: the variables that the module's `init` returned. norms: what the network declares.
    """
    if NORMS in written and norms is None:
        raise ModelError(
            "an encoder with batch norms needs averages for evaluation: give `picture_net` its "
            "keyword `norms`, the share of them that a step keeps"
        )
