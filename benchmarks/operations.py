"""Where the time of a step goes on a CPU, by kind of operation, from a profiler's trace."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax

# Kinds by what the name of XLA's operation contains; the first that matches counts.
KINDS = {
    "products in YNNPACK": r"^ynn_fusion",
    "products in Eigen": r"^(dot|convolution)",
    "stacks of the loop: filled": r"^wrapped_broadcast",
    "stacks of the loop: written": r"dynamic-update-slice",
    "stacks of the loop: read": r"dynamic-slice|^slice|_slice_",
    "loops themselves": r"^(while|call|conditional)",
    "sorts and gathers": r"sort|gather|scatter",
    "copies, transpositions": r"^(copy|transpose|wrapped_transpose|copy_bitcast|transpose_copy)",
}
OTHER = "elementwise, reductions"


class Event(NamedTuple):
    """An operation that ran: nanoseconds at which it began and ended."""

    name: str
    begin: float
    end: float


def time_by_kind(run: Callable[[], None], steps: int) -> dict[str, float]:
    """Run a step so often under the profiler and return {kind: seconds of all threads}."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(steps):
                run()
        [trace] = Path(folder).rglob("*.xplane.pb")
        seconds: Counter[str] = Counter()
        for line in _threads(jax.profiler.ProfileData.from_file(str(trace))):
            for name, nanoseconds in own_times(_operations(line)):
                seconds[kind_of(name)] += nanoseconds / 1e9
    return dict(seconds)


def kind_of(name: str) -> str:
    """Return the kind of an operation of XLA's CPU compiler: 'copy.12' -> a key of KINDS."""
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, name)), OTHER)


def own_times(events: Iterable[Event]) -> Iterable[tuple[str, float]]:
    """Yield (name, nanoseconds) of each event of a thread, without those of events inside it."""
    open_events: list[tuple[Event, float]] = []
    for event in sorted(events, key=lambda event: (event.begin, -event.end)):
        while open_events and open_events[-1][0].end <= event.begin:
            yield _closed(open_events)
        if open_events:
            outer, inside = open_events[-1]
            open_events[-1] = outer, inside + event.end - event.begin
        open_events.append((event, 0.0))
    while open_events:
        yield _closed(open_events)


def _closed(open_events: list[tuple[Event, float]]) -> tuple[str, float]:
    event, inside = open_events.pop()
    return event.name, event.end - event.begin - inside


def _threads(profile: Any) -> Iterable[Any]:
    return (line for plane in profile.planes for line in plane.lines)


def _operations(line: Any) -> Iterable[Event]:
    """Yield the operations of compiled programs among the events of a thread."""
    for event in line.events:
        if "hlo_op" in dict(event.stats):
            yield Event(event.name, event.start_ns, event.start_ns + event.duration_ns)
