"""What a measure may yield: numbers under names of their own, with text, a warning, a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from maskmim.config.facts import facts_of
from maskmim.errors import UserError
from maskmim.evals.failures import RECONSTRUCTION
from maskmim.reporting.metrics_log import to_number

# What the train loop logs for every method, beside the terms of the loss.
LOGGED = (
    *("step", "loss", "lr", "grad_norm", "bad_steps", "spike"),
    *("images_per_second", "data_wait", "masks"),
)
MOST_LETTERS = 120
PARTS = "words with '/' between, such as 'group/number'"


class MeasureError(UserError, ValueError):
    """A measure yields what it may not, or a name that stands for something else."""


class Measured(NamedTuple):
    """A number that a measure yields; a pair (name, value) stands for one without the rest.

    name:    of the metric, in the log and in results.json: words with '/' between. One name stands
             for one metric of a run.
    value:   one number. One that is not finite is null in metrics.jsonl and results.json.
    text:    for people, in one line with those of other measures: 'rank 83 of 192'. None for the
             name and the value; '' where the number is for the log alone.
    warning: a sentence with values and a way out, '' where all is well.
    picture: u8[H, W, 3], of the metric's name.
    settled: what decided the value beside the measure's keywords, JSON values by name; it stands in
             the measure's protocol in results.json, for others to compare with.
    """

    name: str
    value: float
    text: str | None = None
    warning: str = ""
    picture: np.ndarray | None = None
    settled: Mapping[str, Any] = {}

    @property
    def shown(self) -> str:
        """The text for people, with the name where the measure gives none."""
        return f"{self.name} {self.value:.4g}" if self.text is None else self.text

    @property
    def warnings(self) -> list[str]:
        """The warning, if any, and a sentence where the value is not finite."""
        found = [self.warning] if self.warning else []
        if not math.isfinite(self.value):
            found.append(
                f"{self.name} is {self.value}: it stands as null in metrics.jsonl and results.json"
            )
        return found


def values_of(measure: str, brick: Callable, trained: Any) -> list[Measured]:
    """Run a measure and return what it yields, checked.

    measure: its name in `evals.measures`. trained: a `Trained`.
    Raises MeasureError for anything but names, numbers and what goes with them, and where it yields
    a name twice.
    """
    items = brick(trained)
    if not isinstance(items, Iterable):
        raise MeasureError(
            f"evals.measures.{measure} returns {described(items)}: let it `yield` pairs of a name "
            "and a number"
        )
    values: list[Measured] = []
    for item in items:
        measured = _checked(measure, item)
        if any(measured.name == other.name for other in values):
            raise MeasureError(f"{_of(measure, measured.name)} twice: names must be unique")
        values.append(measured)
    return values


def _checked(measure: str, item: Any) -> Measured:
    """Return what a measure yields as Measured; raise MeasureError where it is something else."""
    if not isinstance(item, tuple) or not 2 <= len(item) <= len(Measured._fields):
        raise MeasureError(
            f"evals.measures.{measure} yields {described(item)}: yield a pair of a name and a "
            "number, or a Measured"
        )
    measured = Measured(*item)
    _check_name(measure, measured.name)
    where = _of(measure, measured.name)
    try:
        value = float(to_number(measured.value))
    except (TypeError, ValueError, OverflowError):
        given = described(measured.value)
        raise MeasureError(f"{where} with the value {given}: the value is one number") from None
    if not isinstance(measured.text, str | None):
        raise MeasureError(
            f"{where} with the text {described(measured.text)}: the text is a str, or None for "
            "the name and the value"
        )
    if not isinstance(measured.warning, str):
        raise MeasureError(
            f"{where} with the warning {described(measured.warning)}: the warning is a str, '' "
            "for none"
        )
    _check_settled(where, measured.settled)
    return measured._replace(value=value, picture=_picture(where, measured.picture))


def _check_settled(where: str, settled: Any) -> None:
    """Raise MeasureError unless what decided a value is a mapping that JSON can hold."""
    try:
        json.dumps(dict(settled), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise MeasureError(
            f"{where} with settled={described(settled)}: it is a dict of JSON values ({error})"
        ) from None


def _picture(where: str, picture: Any) -> np.ndarray | None:
    """Return a picture as numpy; raise MeasureError unless it is u8[H, W, 3] or None."""
    if picture is None:
        return None
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise MeasureError(
            f"{where} with the picture {described(picture)}: a picture is uint8[H, W, 3] with "
            "values from 0 to 255"
        )
    return array


def _check_name(measure: str, name: Any) -> None:
    """Raise MeasureError unless a name is words with '/' between: it is that of a file, too."""
    if not isinstance(name, str):
        raise MeasureError(
            f"evals.measures.{measure} yields the name {described(name)}: a name is a str, {PARTS}"
        )
    parts = name.split("/")
    is_plain = name.isprintable() and "\\" not in name and len(name) <= MOST_LETTERS
    if not is_plain or any(part.strip() != part or part in ("", ".", "..") for part in parts):
        raise MeasureError(
            f"evals.measures.{measure} yields the name {described(name)}: a name is {PARTS}, at "
            f"most {MOST_LETTERS} letters"
        )


def _of(measure: str, name: str) -> str:
    return f"evals.measures.{measure} yields {name!r}"


def described(value: Any) -> str:
    """Return a value in a few words: 'float64[4, 4, 3]' for an array, else how Python writes it."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def owner_of(
    name: str, *, probes: Collection[str], logged: Collection[str], owners: Mapping[str, str]
) -> str:
    """Return what has the name of a metric already, '' for nothing.

    probes: their names; metrics of a probe begin with it. logged: further names that the training
    logs. owners: {metric: measure} of what measures have yielded.
    """
    head = name.partition("/")[0]
    if name in owners:
        return f"evals.measures.{owners[name]}"
    if head in probes:
        return f"evals.probes.{head}"
    if head == RECONSTRUCTION:
        return f"the evaluation {RECONSTRUCTION!r}"
    is_logged = name in LOGGED or name in logged or name.startswith("loss/")
    return "the training" if is_logged else ""


def check_owner(measure: str, name: str, owner: str) -> None:
    """Raise MeasureError where a metric's name belongs to something else, see `owner_of`."""
    if owner:
        raise MeasureError(
            f"{_of(measure, name)}, a name that {owner} has: names of metrics must be unique; give "
            "it another one" + (", or run only one of the two" if owner[:5] == "evals" else "")
        )


def hint_of_none(why: str, brick: Callable, trained: Any) -> str:
    """Return why a measure failed, with a way out where it reads images that are not there.

    why: the error in a line.
    """
    if "NoneType" not in why:
        return why
    needs = facts_of(brick).needs
    for field, need in (("test", "test"), ("train", "training")):
        if getattr(trained, field, "") is None and need not in needs:
            return (
                f"{why}; trained.{field} is None, as evals.{field} names no images: name some "
                f"(--config.evals.{field}.brick=...), or let the measure declare that it needs "
                f"them, @facts.measure(needs=({need!r},))"
            )
    return why
