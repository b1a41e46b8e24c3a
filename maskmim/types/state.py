"""The arrays of a method, and all that training changes."""

from __future__ import annotations

from typing import NamedTuple

from maskmim.types.arrays import Array, Tree


class Variables(NamedTuple):
    """The three kinds of arrays of a method.

    params: optimised.
    extra:  changes without gradients (averaged weights, centres, queues, counts).
    frozen: given and fixed (a loaded teacher, a noise bank); never saved, attached again.
    """

    params: Tree
    extra: Tree
    frozen: Tree


class State(NamedTuple):
    """All that training changes, and all that a checkpoint holds of it.

    step:      i32[] updates tried so far, skipped ones included.
    params, extra: see Variables; opt_state: the optimiser's.
    bad_steps: i32[] updates skipped in a row, up to now, because something was not finite.
    """

    step: Array
    params: Tree
    extra: Tree
    opt_state: Tree
    bad_steps: Array
