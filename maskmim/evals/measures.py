"""Measures: series of numbers of a trained method, any with a line of text, a picture, a warning.

A measure is a brick `(trained, *, ...) -> iterator`, which yields (name, value) or `Measured`; it
says by `@facts.measure(needs=...)` what it needs, see `needs.NEEDS`, and what it sees is a
`trained.Trained`. Probes are measures of pooled features with labels, and have their own table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from maskmim.evals.failures import noted
from maskmim.evals.features import Unsuitable
from maskmim.evals.suite import brick_protocol
from maskmim.reporting.metrics_log import to_number
from maskmim.runtime import activity


class Measured(NamedTuple):
    """A number that a measure yields; a pair (name, value) stands for one without the rest.

    name:    of the metric, in the log and in results.json.
    text:    for people, in one line with those of other measures: 'rank 83 of 192'. None for the
             name and the value; '' where the number is for the log alone.
    warning: a sentence with values and a way out, '' where all is well.
    picture: u8[H, W, 3], of the metric's name.
    """

    name: str
    value: float
    text: str | None = None
    warning: str = ""
    picture: np.ndarray | None = None

    @property
    def shown(self) -> str:
        """The text for people."""
        return f"{self.name} {self.value:.4g}" if self.text is None else self.text


class Measurements(NamedTuple):
    """What measures found.

    texts, warnings: for people, see `Measured`. pictures: {metric: u8[H, W, 3]}.
    skipped, failed: {measure: why}. seconds: {measure: wall time}.
    """

    metrics: dict[str, float]
    texts: list[str]
    warnings: list[str]
    pictures: dict[str, np.ndarray]
    skipped: dict[str, str]
    failed: dict[str, str]
    seconds: dict[str, float]

    @classmethod
    def none(cls) -> Measurements:
        """Return what no measure found."""
        return cls({}, [], [], {}, {}, {}, {})

    def as_results(self, bricks: Mapping[str, Callable]) -> dict[str, Any]:
        """Return what results.json holds of them; bricks: the measures, by name."""
        return {
            "metrics": self.metrics,
            "texts": self.texts,
            "warnings": self.warnings,
            "skipped": self.skipped,
            "failed": self.failed,
            "protocol": {name: brick_protocol(brick) for name, brick in bricks.items()},
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }


def run_measures(
    trained: Any, bricks: Mapping[str, Callable], *, skipped: Mapping[str, str] = {}
) -> Measurements:
    """Run measures one after the other; one that fails or does not suit leaves the others.

    trained: a `Trained`. bricks: bound to their hyperparameters, by name.
    skipped: {measure: why} of those that lack what they need, see `needs.unmet`.
    """
    found = Measurements.none()
    found.skipped.update({name: why for name, why in skipped.items() if name in bricks})
    for name, brick in bricks.items():
        if name in skipped:
            continue
        started, values = time.perf_counter(), []
        with activity.during(f"measuring {name}"), noted(found.failed, name):
            try:
                values = [_checked(name, item) for item in brick(trained)]
            except Unsuitable as reason:
                found.skipped[name] = str(reason)
        _add(found, values)
        found.seconds[name] = time.perf_counter() - started
    return found


def _checked(name: str, item: Sequence[Any]) -> Measured:
    """Return what a measure yields as Measured; ValueError where it is something else."""
    if not isinstance(item, tuple) or not 2 <= len(item) <= 5 or not isinstance(item[0], str):
        raise ValueError(
            f"evals.measures.{name} yields {item!r}: yield a name and a number, or a Measured"
        )
    measured = Measured(*item)
    return measured._replace(value=float(to_number(measured.value)))


def _add(found: Measurements, values: Iterable[Measured]) -> None:
    for measured in values:
        found.metrics[measured.name] = measured.value
        found.texts.extend(filter(None, [measured.shown]))
        found.warnings.extend(filter(None, [measured.warning]))
        if measured.picture is not None:
            found.pictures[measured.name] = measured.picture
