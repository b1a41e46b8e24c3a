"""Hints that the data hold themselves."""

from __future__ import annotations

from maskmim.models.layers.errors import ModelError
from maskmim.models.net import array_of
from maskmim.types import Array, Context, Mask, Net, Teacher, Tree, stateless


def given(*, names: tuple[str, ...], hints: tuple[str, ...] = ()) -> Teacher:
    """Return a teacher that gives arrays of the batch as hints, as they are.

    names: of arrays of an example, such as 'missing' of `config.input.fields`.
    hints: of each the name of its hint; () for the names themselves.
    Raises ModelError for a batch without one of the arrays, and unless there are as many hints.
    """
    hints = hints or names
    if len(hints) != len(names):
        raise ModelError(f"given has {len(names)} arrays and {len(hints)} hints: name one for each")

    def find(
        net: Net, extra: Tree, frozen: Tree, context: Context, mask: Mask | None
    ) -> dict[str, Array]:
        pairs = zip(hints, names, strict=True)
        return {hint: array_of(context.batch, name) for hint, name in pairs}

    return stateless(hints, False, find)
