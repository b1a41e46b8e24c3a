"""Worker processes that prepare batches: how they end, and what happens when one dies.

grain starts them and notices within a second that one has died. Since a batch is a function of its
number, all of them can be begun again at the batch that was due, and nothing is lost or repeated.
"""

from __future__ import annotations

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
from types import FrameType
from typing import Any

from maskmim.errors import STUCK, UserError

# Deaths after which no further one is healed, unless so many batches came between them.
DEATHS = 3
WITHIN_BATCHES = 1000
# A worker that is asked to close finishes its batch first.
CLOSE_SECONDS = 5.0
# After SIGTERM, which schedulers send to every process of a job: time to save for the process that
# trains, which still wants its batch.
LEAVE_SECONDS = 20.0

# Sent by terminals and schedulers to every process of a job.
HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)

_DIED = re.compile(r"[Pp]rocess was terminated unexpectedly with exit code (-?\d+)")
_NAME = "grain-process-prefetch"
_HINTS = {
    signal.SIGKILL: "the machine may be out of memory: lower data.workers or data.threads",
    signal.SIGBUS: "/dev/shm may be full: lower data.workers, or enlarge it (docker: --shm-size)",
    signal.SIGSEGV: "a decoder may have crashed on a file: try data.workers=0 to see where",
}


class WorkersDied(UserError, RuntimeError):
    """Processes that prepare batches died again and again; exit code STUCK."""

    exit_code = STUCK


def revived(begin: Callable[[int], Iterator[Any]], first: int) -> Iterator[Any]:
    """The batches from number `first` on, also where processes that make them die.

    begin: batch number -> grain's iterator of the batches from that number on, with workers.
    Each death is told on stderr. Raises WorkersDied at the fourth death within 1000 batches.
    """
    number, deaths = first, deque(maxlen=DEATHS)
    # Bound here: when the interpreter ends, grain has ended its workers and modules are empty.
    ending = sys.is_finalizing
    batches: Iterator[Any] | None = None
    try:
        while True:
            try:
                if batches is None:
                    batches, batch = begun(begin, number)
                else:
                    batch = next(batches)
            except RuntimeError as error:
                code = exit_code_of_worker(error)
                if code is None:
                    raise
                if batches is not None:
                    close(batches)
                if len(deaths) == DEATHS and number - deaths[0] < WITHIN_BATCHES:
                    raise WorkersDied(
                        f"processes that prepare batches died {DEATHS + 1} times within "
                        f"{number - deaths[0] + 1} batches, the last by {told(code)}"
                    ) from error
                deaths.append(number)
                print(
                    f"maskmim: a process that prepares batches died by {told(code)}; all of them "
                    f"begin again at batch {number}, nothing is lost",
                    file=sys.stderr,
                    flush=True,
                )
                batches = None
                continue
            number += 1
            yield batch
    finally:
        if batches is not None and not ending():
            close(batches)


def begun(begin: Callable[[int], Iterator[Any]], number: int) -> tuple[Iterator[Any], Any]:
    """The iterator from a batch on, and that batch: signals wait until workers can take them.

    A worker that died before `live_with_parent` would leave grain writing to a pipe that nobody
    reads. Which signals wait is inherited by the threads and processes that a thread starts, so
    that this one starts them all, and the calling thread goes on hearing.
    """
    done: Future[tuple[Iterator[Any], Any]] = Future()

    def start() -> None:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
            # Starting Python's tracker of shared memory, which inherits this too, undoes a part.
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
            batches = begin(number)
            try:
                done.set_result((batches, next(batches)))
            except BaseException:
                close(batches)
                raise
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=start, name="workers", daemon=True).start()
    return done.result()


def exit_code_of_worker(error: BaseException) -> int | None:
    """The exit code of the worker whose death grain reports so; None for any other error."""
    found = _DIED.search(str(error))
    return int(found[1]) if found else None


def told(code: int) -> str:
    """An exit code in words, with what may have caused it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        number = signal.Signals(-code)
    except ValueError:
        return f"signal {-code}"
    return f"{number.name} ({_HINTS[number]})" if number in _HINTS else number.name


def close(batches: Any) -> None:
    """Ends the workers of grain's iterator, and kills those that take more than 5 s."""
    closing = threading.Thread(target=_quietly, args=(batches.close,), daemon=True)
    closing.start()
    closing.join(CLOSE_SECONDS)
    if closing.is_alive():
        for process in multiprocessing.active_children():
            if process.name.startswith(_NAME):
                process.kill()


def _quietly(function: Callable[[], None]) -> None:
    # What a dead worker left half done in its queues can raise nearly anything.
    with contextlib.suppress(Exception):
        function()


def live_with_parent(index: int, count: int) -> None:
    """Begins a worker, see grain's `worker_init_fn`: it ends when its parent does, and not before.

    Ctrl-C and the signals of schedulers reach every process of a job. The one that trains saves and
    stops; its workers must not die before it. They do not outlive it either, even where it was
    killed and could not tell them.
    """
    for number in HELD:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave_later)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)  # see `begun`
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
