"""The start, restart and end of the data loader's worker processes.

grain starts workers and notices within a second when one has died. As a batch is a function of its
number, all workers can restart at the batch that was due, and no batch is lost or repeated.
"""

from __future__ import annotations

import ast
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import re
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType
from typing import Any

from maskmim.errors import STUCK, UserError, count_of

# More workers than this many times the cores wait for each other.
PER_CORE = 4
# Give up at the next death after this many within this many batches.
DEATHS = 3
WITHIN_BATCHES = 1000
# A closing worker finishes its batch first.
CLOSE_SECONDS = 5.0
# Delay after SIGTERM, which schedulers send to every process of a job: the training process still
# needs its batch and saves a checkpoint.
LEAVE_SECONDS = 20.0

# Signals that terminals and schedulers send to every process of a job.
JOB_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)

_DIED = re.compile(r"[Pp]rocess was terminated unexpectedly with exit code (-?\d+)")
_NAME = "grain-process-prefetch"
_HINTS = {
    signal.SIGKILL: "the machine may be out of memory: lower data.workers or data.threads",
    signal.SIGBUS: "/dev/shm may be full: lower data.workers, or enlarge it (docker: --shm-size)",
    signal.SIGSEGV: "a decoder may have crashed on a file: try data.workers=0 to see where",
}


class WorkersDied(UserError, RuntimeError):
    """Data loader workers died repeatedly; exit code STUCK."""

    exit_code = STUCK


class UnguardedScript(UserError, RuntimeError):
    """A script that starts workers whenever it is imported, as each worker does."""


def check_workers(workers: int) -> list[str]:
    """Return a line where workers are far more than the cores of this machine, else nothing."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if workers <= PER_CORE * (cores or 1):
        return []
    return [
        f"note: data.workers={workers} processes on {count_of(cores or 1, 'core')}: each takes "
        f"seconds to start and hundreds of MB of memory; set data.workers to {cores or 1} or less"
    ]


def restart_dead_workers(begin: Callable[[int], Iterator[Any]], first: int) -> Iterator[Any]:
    """Yield the batches from number `first` on; restart the workers when one dies.

    begin: batch number -> grain's iterator of the batches from that number on, with workers.
    Reports each death on stderr. Raises WorkersDied at the fourth death within 1000 batches, and
    UnguardedScript at the first where the main script explains it.
    """
    number, deaths = first, deque(maxlen=DEATHS)
    # Bound here: at interpreter exit grain has ended its workers and modules are empty.
    ending = sys.is_finalizing
    batches: Iterator[Any] | None = None
    try:
        while True:
            try:
                if batches is None:
                    batches, batch = start_workers(begin, number)
                else:
                    batch = next(batches)
            except RuntimeError as error:
                code = worker_exit_code(error)
                if code is None:
                    raise
                if batches is not None:
                    close_workers(batches)
                if number == first and code >= 0 and (script := unguarded_script()):
                    raise UnguardedScript(
                        f"data loader workers cannot start: each runs {script} again from its "
                        "first line, which starts workers again; put what the script does under "
                        '`if __name__ == "__main__":`, or use no workers (data.workers=0)'
                    ) from None
                if len(deaths) == DEATHS and number - deaths[0] < WITHIN_BATCHES:
                    raise WorkersDied(
                        f"data loader workers died {DEATHS + 1} times within "
                        f"{number - deaths[0] + 1} batches, the last by {describe_exit(code)}"
                        f"{'; its error stands above' if code > 0 else ''}"
                    ) from error
                deaths.append(number)
                print(
                    f"maskmim: a data loader worker died by {describe_exit(code)}; all workers "
                    f"restart at batch {number}, no batch is lost",
                    file=sys.stderr,
                    flush=True,
                )
                batches = None
                continue
            number += 1
            yield batch
    finally:
        if batches is not None and not ending():
            close_workers(batches)


def start_workers(begin: Callable[[int], Iterator[Any]], number: int) -> tuple[Iterator[Any], Any]:
    """Start the workers; return the iterator from a batch on, and that batch.

    Blocks signals in the workers until `live_with_parent` runs: a worker that died before would
    leave grain writing to a pipe that nobody reads. Threads and processes inherit blocked signals
    from the thread that starts them, so a new thread starts the workers, and the calling thread
    still receives signals.
    """
    ready: Future[tuple[Iterator[Any], Any]] = Future()

    def start() -> None:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, JOB_SIGNALS)
            # Starting Python's shared memory tracker, which must inherit this too, unblocks some.
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, JOB_SIGNALS)
            batches = begin(number)
            try:
                ready.set_result((batches, next(batches)))
            except BaseException:
                close_workers(batches)
                raise
        except BaseException as error:
            ready.set_exception(error)

    threading.Thread(target=start, name="workers", daemon=True).start()
    return ready.result()


def unguarded_script() -> str:
    """Return the path of the script that runs if it never asks for `__name__`, else ''.

    A module that was started by `python -m`, and an interactive session, are no scripts.
    """
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if not path or getattr(main, "__spec__", None) is not None:
        return ""
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return "" if "__name__" in names else str(path)


def worker_exit_code(error: BaseException) -> int | None:
    """Return the exit code of the worker whose death grain reports; None for any other error."""
    match = _DIED.search(str(error))
    return int(match[1]) if match else None


def describe_exit(code: int) -> str:
    """Return an exit code in words, with a hint at the cause."""
    if code >= 0:
        return f"exit code {code}"
    try:
        number = signal.Signals(-code)
    except ValueError:
        return f"signal {-code}"
    return f"{number.name} ({_HINTS[number]})" if number in _HINTS else number.name


def close_workers(batches: Any) -> None:
    """End the workers of grain's iterator; kill those that take more than CLOSE_SECONDS."""
    closing = threading.Thread(target=_call_quietly, args=(batches.close,), daemon=True)
    closing.start()
    closing.join(CLOSE_SECONDS)
    if closing.is_alive():
        for process in multiprocessing.active_children():
            if process.name.startswith(_NAME):
                process.kill()


def _call_quietly(function: Callable[[], None]) -> None:
    # What a dead worker left in its queues can raise nearly any error.
    with contextlib.suppress(Exception):
        function()


def live_with_parent(index: int, count: int) -> None:
    """Initialise a worker (grain's `worker_init_fn`) to end with its parent and not before.

    Ctrl-C and the signals of schedulers reach every process of a job. The training process saves
    and stops; its workers must not die before it. They do not outlive it either, even where it was
    killed and could not end them.
    """
    for number in JOB_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave_later)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, JOB_SIGNALS)  # see `start_workers`
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_later(number: int, frame: FrameType | None) -> None:
    timer = threading.Timer(LEAVE_SECONDS, os._exit, (128 + number,))
    timer.daemon = True
    timer.start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
