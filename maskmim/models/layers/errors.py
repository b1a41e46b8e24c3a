"""The error of models and their layers, and the sentences of sizes that do not exist."""

from __future__ import annotations

import re
from collections.abc import Iterable

from maskmim.errors import UserError


class ModelError(UserError, ValueError):
    """Sizes or names that no model can be built from."""


# Names that users try for the letters of published sizes.
_LONG = {"tiny": "Ti", "t": "Ti", "small": "S", "base": "B", "large": "L", "huge": "H"}
# A network of more blocks would take hours to trace; the number is a slip.
MOST_BLOCKS = 10_000


def unknown_variant(family: str, name: str, known: Iterable[str], form: str = "") -> ModelError:
    """Return the error of an unknown size: what there is, and the nearest by other case or words.

    form: how a size of one's own is written, '' for none.
    """
    known = list(known)
    word = re.sub(r"^vit[-_]?|[-_/]?\d+$", "", name.lower())
    near = [each for each in known if each.lower() == word or each == _LONG.get(word)]
    offer = f"did you mean {near[0]!r}? There are" if near else "use one of"
    own = f", or {form}" if form else ""
    return ModelError(f"unknown {family} variant {name!r}: {offer} {', '.join(known)}{own}")


def check_blocks(count: int) -> None:
    """Raise ModelError for a number of blocks that no network has."""
    if count > MOST_BLOCKS:
        raise ModelError(f"a network of {count:,} blocks is too deep: use at most {MOST_BLOCKS:,}")
