"""A way to pretrain, as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypedDict

from maskmim.types.arrays import Array, Batch, Tree
from maskmim.types.losses import Losses
from maskmim.types.nets import Encoded, Net
from maskmim.types.randomness import Randomness
from maskmim.types.state import Variables


class Apply(TypedDict, total=False):
    """The functions of a method for evaluators, pictures, teachers and notebooks, by name.

    All methods of maskmim have 'encode' and 'mask'; callers test for the others, as in
    `"codes" in method.apply`. `Method.check_apply` rejects unknown names.

    encode:         (variables, batch, *, capture=()) -> Encoded of whole examples, without a mask;
                    capture as in `Net.encode`, for methods whose encoder is `Method.net`.
    encode_student: as encode, by the student where 'encode' is its average.
    evaluated:      variables -> variables with the params that evaluation reads: averaged weights,
                    running averages of batch norms. The other functions here do so by themselves;
                    `Method.loss` of held-out examples takes these.
    mask:           (variables, batch, randomness) -> {'mask': Mask, 'inputs': f32[B, ...]}; of
                    several views those of one, and 'masks': the Mask of each.
    reconstruct:    (variables, batch, randomness) -> the entries of 'mask' and those of
                    `Objective.pixels`. Of several streams 'inputs' is {stream: array}, and in place
                    of those entries there is 'streams': {stream: what a method of this stream alone
                    would return, its mask in the stream's own numbers}.
    codes:          (variables, batch) -> i32[B, N] codes of whole examples.
    codebook:       variables -> f32[codes, D] vectors of the codes.
    draw:           (variables, codes i32[B, N]) -> u8[B, H, W, C] the pictures of codes.
    generate:       (variables, codes i32[B, N], classes i32[B], randomness, *, start=0) ->
                    i32[steps - start, B, N] codes, the unknown ones filled in; class -1 is none.
    """

    encode: Callable[..., Encoded]
    encode_student: Callable[..., Encoded]
    evaluated: Callable[[Variables], Variables]
    mask: Callable[[Variables, Batch, Randomness], dict[str, Any]]
    reconstruct: Callable[[Variables, Batch, Randomness], dict[str, Any]]
    codes: Callable[[Variables, Batch], Array]
    codebook: Callable[[Variables], Array]
    draw: Callable[[Variables, Array], Array]
    generate: Callable[..., Array]


class Method(NamedTuple):
    """A way to pretrain, as a value; trainer, evaluators, checkpoints and planner know only this.

    net:      the network, for pictures and for counting tokens.
    init:     key -> (params, extra); runs under jit.
    freeze:   () -> frozen; called once, outside jit, so that loaded arrays enter no program.
    loss:     (variables, batch, randomness, progress) -> Losses.
    refresh:  (variables, carry, progress) -> extra; called after each optimiser update.
    apply:    functions for evaluators, teachers and notebooks, see `Apply`.
    chain:    what it does, as short lines of text for people, in the order of the computation.
    sheets:   pictures to draw, by name: (variables, batch, randomness) -> {column: u8[B, H, W, C],
              or u8[B, T, H, W, C] for clips}; every row of a sheet is an example.
    does:     what a training by it is, in a few words for people.
    """

    net: Net
    init: Callable[[Array], tuple[Tree, Tree]]
    freeze: Callable[[], Tree]
    loss: Callable[[Variables, Batch, Randomness, Array], Losses]
    refresh: Callable[[Variables, Tree, Array], Tree]
    apply: Apply
    chain: tuple[tuple[str, str], ...]
    sheets: Mapping[str, Callable[..., dict[str, Array]]] = MappingProxyType({})
    does: str = "pretraining"

    def variables(self, key: Array) -> Variables:
        """Return the variables before training, all three kinds."""
        return Variables(*self.init(key), self.freeze())

    def evaluated(self, variables: Variables) -> Variables:
        """Return the variables as evaluation reads them, see `Apply.evaluated`."""
        read = self.apply.get("evaluated")
        return read(variables) if read else variables

    def check_apply(self) -> None:
        """Raise ValueError for an entry of `apply` that `Apply` does not list."""
        if unknown := sorted(set(self.apply) - set(Apply.__annotations__)):
            raise ValueError(
                f"Method.apply has the unknown entries {unknown}, known are "
                f"{sorted(Apply.__annotations__)}: add new ones to maskmim.types.Apply"
            )
