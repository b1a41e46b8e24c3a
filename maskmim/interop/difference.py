"""Differences between the arrays that a network needs and those of a file, in few lines."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from maskmim.errors import UserError

Shapes = Mapping[str, tuple[int, ...]]

MOST_LINES = 6  # Of each kind of difference.


class WeightsError(UserError, ValueError):
    """Weights that do not fit a network."""


def check_equal(expected: Shapes, actual: Shapes, where: str) -> None:
    """Raise WeightsError unless names and shapes are equal.

    Names that differ only by their number ('layer.3.norm') share a line; a missing name comes with
    the nearest unexpected one, as a rename is the usual cause.
    """
    missing = _group({name: str(tuple(expected[name])) for name in expected if name not in actual})
    unexpected = _group({name: str(tuple(actual[name])) for name in actual if name not in expected})
    reshaped = _group(
        {
            name: f"{tuple(actual[name])}, the network has {tuple(expected[name])}"
            for name in expected
            if name in actual and tuple(actual[name]) != tuple(expected[name])
        }
    )
    missing = {name: text + _nearest(name, unexpected) for name, text in missing.items()}
    lines = [
        *_lines("missing", missing),
        *_lines("unexpected", unexpected),
        *_lines("of another shape", reshaped),
        *_channels_lines(expected, actual),
    ]
    if lines:
        raise WeightsError(
            f"{where}: the weights do not fit; choose the brick, variant and patch that they were "
            "made with\n" + "\n".join(lines)
        )


def _channels_lines(expected: Shapes, actual: Shapes) -> list[str]:
    """Return a line where patch embeddings [out, channels, rows, columns] differ in channels."""
    for name in expected.keys() & actual.keys():
        theirs, ours = tuple(actual[name]), tuple(expected[name])
        if len(theirs) == 4 == len(ours) and theirs[:1] + theirs[2:] == ours[:1] + ours[2:]:
            if theirs[1] == ours[1]:
                continue
            return [
                f"  the weights are for {theirs[1]} channels, input.channels is {ours[1]}: they "
                f"are never repeated or cut for other channels; set input.channels to {theirs[1]}, "
                f"or write a file whose {name} has {ours[1]}"
            ]
    return []


def _group(differences: Mapping[str, str]) -> dict[str, str]:
    """Group differences by name with numbers as *; return the first of each group and its size."""
    groups: dict[str, list[str]] = {}
    for name, text in differences.items():
        groups.setdefault(re.sub(r"(?<=\.)\d+(?=\.)", "*", name), []).append(text)
    return {
        name: texts[0] + (f" x {len(texts)}" if len(texts) > 1 else "")
        for name, texts in groups.items()
    }


def _nearest(name: str, others: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(name, others, 1, 0.6)
    return f"; nearest in the file: {near[0]}" if near else ""


def _lines(title: str, groups: Mapping[str, str]) -> list[str]:
    lines = [f"  {title}: {name} {text}" for name, text in list(groups.items())[:MOST_LINES]]
    more = len(groups) - MOST_LINES
    return [*lines, f"  {title}: {more} kinds more"] if more > 0 else lines
