"""Contestants of a benchmark that take turns, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import NamedTuple

from maskmim.runtime.allocator import keep_freed_memory

WARM_UP = 3


class Turn(NamedTuple):
    """What a step took in a turn: seconds on the clock and of processors, page faults."""

    wall: float
    cpu: float
    faults: float


def take_turns(
    makers: Mapping[str, Callable[[], Callable[[], None]]], turns: int, steps: int
) -> dict[str, list[Turn]]:
    """Return {name: turns} of contestants, one after the other in each turn.

    makers: {name: () -> a function that runs one step}; they are pickled and called in processes
    that start anew and keep freed memory as the commands do. steps: of a turn; a few more, before
    the first turn, warm up.
    """
    context = multiprocessing.get_context("spawn")
    workers = {}
    for name, make in makers.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(make, steps, theirs), daemon=True)
        process.start()
        theirs.close()
        workers[name] = process, ours
        ours.recv()  # it is warm; the next one starts on a quiet machine
    taken: dict[str, list[Turn]] = {name: [] for name in makers}
    for _ in range(turns):
        for name, (_, connection) in workers.items():
            connection.send("turn")
            taken[name].append(connection.recv())
    for process, connection in workers.values():
        connection.close()
        process.join()
    return taken


def _serve(make: Callable[[], Callable[[], None]], steps: int, connection: Connection) -> None:
    """Run a turn whenever one is asked for, until the connection is closed."""
    keep_freed_memory()
    run = make()
    for _ in range(WARM_UP):
        run()
    connection.send("warm")
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        before = _now()
        for _ in range(steps):
            run()
        connection.send(Turn(*((b - a) / steps for a, b in zip(before, _now(), strict=True))))


def _now() -> tuple[float, float, int]:
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    return time.perf_counter(), time.process_time(), faults
