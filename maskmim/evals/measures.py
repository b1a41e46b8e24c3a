"""Measures: series of numbers of a trained method, any with a line of text, a picture, a warning.

A measure is a brick `(trained, *, ...) -> iterator`, which yields (name, value) or `Measured`; it
says by `@facts.measure(needs=...)` what it needs, see `needs.NEEDS`, and what it sees is a
`trained.Trained`. Probes are measures of pooled features with labels, and have their own table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from maskmim.evals.failures import noted
from maskmim.evals.features import Unsuitable
from maskmim.evals.suite import brick_protocol
from maskmim.evals.trained import Trained
from maskmim.evals.yielded import Measured, check_owner, hint_of_none, owner_of, values_of
from maskmim.runtime import activity


class Measurements(NamedTuple):
    """What measures found.

    texts, warnings: for people, see `Measured`. table: {metric: its text, or its value}.
    pictures: {metric: u8[H, W, 3]}. skipped, failed: {measure: why}. seconds: {measure: wall time}.
    settled: {measure: what decided its values}, see `Measured`.
    """

    metrics: dict[str, float]
    texts: list[str]
    table: dict[str, str]
    warnings: list[str]
    pictures: dict[str, np.ndarray]
    skipped: dict[str, str]
    failed: dict[str, str]
    seconds: dict[str, float]
    settled: dict[str, dict[str, Any]]

    @classmethod
    def none(cls) -> Measurements:
        """Return what no measure found."""
        return cls({}, [], {}, [], {}, {}, {}, {}, {})

    def as_results(self, bricks: Mapping[str, Callable]) -> dict[str, Any]:
        """Return what results.json holds of them; bricks: the measures, by name."""
        return {
            "metrics": self.metrics,
            "texts": self.texts,
            "table": self.table,
            "warnings": self.warnings,
            "skipped": self.skipped,
            "failed": self.failed,
            "protocol": {name: self._protocol(name, brick) for name, brick in bricks.items()},
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
        }

    def _protocol(self, name: str, brick: Callable) -> dict[str, Any]:
        settled = self.settled.get(name)
        return brick_protocol(brick) | ({"settled": settled} if settled else {})


def run_measures(
    trained: Trained,
    bricks: Mapping[str, Callable],
    *,
    skipped: Mapping[str, str] = {},
    probes: Collection[str] = (),
    logged: Collection[str] = (),
    keep: Callable[[Measurements], None] = lambda _: None,
) -> Measurements:
    """Run measures one after the other; one that fails or does not suit leaves the others.

    bricks: bound to their hyperparameters, by name.
    skipped: {measure: why} of those that lack what they need, see `needs.unmet`.
    probes, logged: names that metrics must not have, see `yielded.owner_of`. Of two measures that
    yield one name, the second fails.
    keep: called with what has been found, after each measure.
    """
    found = Measurements.none()
    found.skipped.update({name: why for name, why in skipped.items() if name in bricks})
    owners: dict[str, str] = {}
    for name, brick in bricks.items():
        if name in skipped:
            continue
        started, values = time.perf_counter(), []
        with activity.during(f"measuring {name}"), noted(found.failed, name):
            try:
                yielded = values_of(name, brick, trained._replace(measure=name))
                for metric, *_ in yielded:
                    owner = owner_of(metric, probes=probes, logged=logged, owners=owners)
                    check_owner(name, metric, owner)
                values = yielded
            except Unsuitable as reason:
                found.skipped[name] = str(reason)
        if name in found.failed:
            found.failed[name] = hint_of_none(found.failed[name], brick, trained)
        owners |= {measured.name: name for measured in values}
        _add(found, name, values)
        found.seconds[name] = time.perf_counter() - started
        keep(found)
    return found


def _add(found: Measurements, measure: str, values: Iterable[Measured]) -> None:
    for measured in values:
        if measured.settled:
            found.settled.setdefault(measure, {}).update(measured.settled)
        found.metrics[measured.name] = measured.value
        found.texts.extend(filter(None, [measured.shown]))
        if measured.shown:
            found.table[measured.name] = measured.text or f"{measured.value:.4g}"
        found.warnings.extend(measured.warnings)
        if measured.picture is not None:
            found.pictures[measured.name] = measured.picture
