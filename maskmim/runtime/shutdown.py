"""Leaving: one process of several that must end tells why, and all end with the same exit code.

jax leaves this to time-outs and abort(): without a word the others would wait in a collective until
a heartbeat is missed, and then die of SIGABRT.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from maskmim import errors
from maskmim.runtime import exits, processes

KEY = "maskmim/leaving"
# How long a process that leaves waits: for what it has begun to save, for the coordination service,
# for the others to hear of it.
SETTLE_SECONDS = 600.0
TELL_SECONDS = 5.0
MEET_SECONDS = 5.0
LISTEN_SECONDS = 2.0
# What collectives raise in the processes that are left.
BROKEN_LINK = r"(?i)gloo|nccl|heartbeat|connection (reset|closed|refused)|coordination service"


class News(NamedTuple):
    """Why the program ends: which process said so first, the exit code of all, and its reason."""

    process: int
    code: int
    says: str


class Departure:
    """The way out of this process, for any of its threads; the first one to take it counts.

    settle: finishes what has been begun to be saved; may be set later.
    """

    def __init__(self) -> None:
        self.settle: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._abort: object = None
        self._code = errors.STUCK  # of a process that jax would abort()
        self._ended = threading.Event()

    def leave(self, code: int, says: str) -> None:
        """Tells the others, and ends this process with the code that was told first."""
        self._lock.acquire()  # for ever: another thread that comes later has nothing to add
        first = tell(code, says) if processes.several() else None
        code = first.code if first else code
        if code == errors.SAVED and not self._settled():
            code = errors.STORAGE
        self._code = code
        if first:
            exits.within(MEET_SECONDS, _meet)
        exits.leave(code)

    def leave_and_say(self, code: int, says: str) -> None:
        """Leaves, and says why on stderr first."""
        exits.say(says)
        self.leave(code, says)

    def _settled(self) -> bool:
        """Whether everything that was begun is saved."""
        problems: list[Exception] = [TimeoutError("the newest state was not saved in time")]

        def settle() -> None:
            try:
                self.settle()
                problems.clear()
            except Exception as error:
                problems[:] = [error]

        exits.within(SETTLE_SECONDS, settle)
        for problem in problems:
            exits.say(f"error: {problem}")
        return not problems

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Inside, an error of any process ends them all; nothing changes for a single process."""
        if not processes.several():
            yield
            return
        self._abort = code_instead_of_abort(lambda: self._code)
        listener = threading.Thread(target=self._listen, name="news", daemon=True)
        listener.start()
        try:
            yield
            # jax's client must not be asked any more when it is taken down.
            self._ended.set()
            listener.join(LISTEN_SECONDS + TELL_SECONDS)
        except Exception as error:
            if re.search(BROKEN_LINK, str(error)) and not hasattr(error, "exit_code"):
                says = f"another process is gone: {errors.first_line(error)}"
                self.leave_and_say(errors.STUCK, says)
            self.leave(exits.explain(error), errors.first_line(error))

    def _listen(self) -> None:
        news = None
        while news is None and not self._ended.is_set():
            news = heard(LISTEN_SECONDS)
        if news is not None and news.process != processes.own_number():
            self.leave_and_say(news.code, f"process {news.process} leaves: {news.says}")


def tell(code: int, says: str) -> News | None:
    """Tells the other processes why this one leaves; what was told first, which is what counts.

    None where the coordination service does not answer.
    """
    news = json.dumps(News(processes.own_number(), code, says))
    if not exits.within(TELL_SECONDS, lambda: processes.client().key_value_set(KEY, news)):
        return None
    return heard(TELL_SECONDS)


def heard(seconds: float) -> News | None:
    """What a process has told, waiting so long for it; None where there is nothing."""
    try:
        return News(
            *json.loads(processes.client().blocking_key_value_get(KEY, int(seconds * 1000)))
        )
    except Exception:  # nothing yet, or the service is gone, which jax itself tells of
        time.sleep(0.1)
        return None


def code_instead_of_abort(code: Callable[[], int]) -> object:
    """Ends this process with a code where jax would abort() it because another one is gone.

    code: of this moment; with STUCK, the stacks are told. Who leaves together may lose the others a
    moment earlier, and must not change the code for that. jax offers a callback, which its bindings
    cannot call (jaxlib 0.10: std::bad_cast), and a Python signal handler would come too late.
    Returns what must be kept alive.
    """

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def leave(number: int) -> None:
        if code() == errors.STUCK:
            os.write(2, b"maskmim: another process is gone (see above); the stacks of this one:\n")
            faulthandler.dump_traceback(file=2, all_threads=True)
        os._exit(code())

    ctypes.CDLL(None).signal(signal.SIGABRT, leave)
    return leave


def _meet() -> None:
    processes.client().wait_at_barrier(KEY, int(MEET_SECONDS * 1000))
