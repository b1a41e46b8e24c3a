"""What differs between the arrays that a network needs and those of a file, in few lines."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from maskmim.interop.layout import Shapes, WeightsError

MOST = 6  # Lines of each kind.


def check_equal(expected: Shapes, given: Shapes, where: str) -> None:
    """WeightsError unless names and shapes are equal.

    Names that differ by their number alone ('layer.3.norm') are one line; what is missing comes
    with the nearest name that is unexpected, as most often one has become the other.
    """
    missing = _grouped({name: expected[name] for name in expected if name not in given})
    unexpected = _grouped({name: given[name] for name in given if name not in expected})
    other = _grouped(
        {
            name: f"{tuple(given[name])}, the network has {tuple(expected[name])}"
            for name in expected
            if name in given and tuple(given[name]) != tuple(expected[name])
        }
    )
    lines = [
        *_lines(
            "missing", {name: text + _near(name, unexpected) for name, text in missing.items()}
        ),
        *_lines("unexpected", unexpected),
        *_lines("of another shape", other),
    ]
    if lines:
        raise WeightsError(
            f"{where}: the weights do not fit; choose the brick, variant and patch that they were "
            "made with\n" + "\n".join(lines)
        )


def _grouped(found: Mapping[str, object]) -> dict[str, str]:
    """{name with numbers as *: what was found, and how often}."""
    groups: dict[str, list[str]] = {}
    for name, what in found.items():
        shape = what if isinstance(what, str) else str(tuple(what))
        groups.setdefault(re.sub(r"(?<=\.)\d+(?=\.)", "*", name), []).append(shape)
    return {
        name: shapes[0] + (f" x {len(shapes)}" if len(shapes) > 1 else "")
        for name, shapes in groups.items()
    }


def _near(name: str, others: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(name, others, 1, 0.6)
    return f"; nearest in the file: {near[0]}" if near else ""


def _lines(title: str, groups: Mapping[str, str]) -> list[str]:
    lines = [f"  {title}: {name} {text}" for name, text in list(groups.items())[:MOST]]
    more = len(groups) - MOST
    return [*lines, f"  {title}: {more} kinds more"] if more > 0 else lines
