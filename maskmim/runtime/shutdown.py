"""Ending several processes together: the first to end says why, and all exit with its code.

jax alone leaves this to time-outs and abort(): the other processes would wait in a collective until
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
# How long a process that ends waits: for its saves, for the coordination service, for the other
# processes to read its notice.
SAVE_SECONDS = 600.0
ANNOUNCE_SECONDS = 5.0
MEET_SECONDS = 5.0
LISTEN_SECONDS = 2.0
# What collectives raise in the processes that remain.
BROKEN_LINK = r"(?i)gloo|nccl|heartbeat|connection (reset|closed|refused)|coordination service"


class ExitNotice(NamedTuple):
    """Why the program ends: the first process to say so, the exit code of all, and the reason."""

    process: int
    code: int
    reason: str


class Shutdown:
    """The end of this process, from any of its threads; the first thread to call it decides.

    finish_saves: waits for the saves in progress; may be set later.
    release:      gives back what the process holds, such as the lock of its work directory; called
                  last, may be set later.
    """

    def __init__(self) -> None:
        self.finish_saves: Callable[[], object] = lambda: None
        self.release: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._abort_handler: object = None
        self._code = errors.STUCK  # of a process that jax would abort()
        self._ended = threading.Event()

    def end_process(self, code: int, reason: str) -> None:
        """Tell the other processes, and end this one with the code that was announced first."""
        self._lock.acquire()  # never released: a second thread has nothing to add
        first = announce_exit(code, reason) if processes.is_distributed() else None
        code = first.code if first else code
        if code == errors.SAVED and not self._all_saved():
            code = errors.STORAGE
        self._code = code
        exits.run_within(MEET_SECONDS, self.release)
        if first:
            exits.run_within(MEET_SECONDS, _wait_for_others)
        exits.exit_now(code)

    def report_and_end(self, code: int, reason: str) -> None:
        """Print the reason to stderr, then end the process."""
        exits.print_stderr(reason)
        self.end_process(code, reason)

    def _all_saved(self) -> bool:
        """Finish the saves in progress; return whether all succeeded in time."""
        problems: list[Exception] = [TimeoutError("the newest state was not saved in time")]

        def finish() -> None:
            try:
                self.finish_saves()
                problems.clear()
            except Exception as error:
                problems[:] = [error]

        exits.run_within(SAVE_SECONDS, finish)
        for problem in problems:
            exits.print_stderr(f"error: {problem}")
        return not problems

    @contextlib.contextmanager
    def end_together(self) -> Iterator[None]:
        """End all processes when one raises inside; do nothing for a single process."""
        if not processes.is_distributed():
            yield
            return
        self._abort_handler = exit_on_abort(lambda: self._code)
        listener = threading.Thread(target=self._listen, name="news", daemon=True)
        listener.start()
        try:
            yield
            # jax's client must not be asked any more when it is taken down.
            self._ended.set()
            listener.join(LISTEN_SECONDS + ANNOUNCE_SECONDS)
        except Exception as error:
            if re.search(BROKEN_LINK, str(error)) and not hasattr(error, "exit_code"):
                reason = f"another process is gone: {errors.first_line(error)}"
                self.report_and_end(errors.STUCK, reason)
            self.end_process(exits.report_error(error), errors.first_line(error))

    def _listen(self) -> None:
        notice = None
        while notice is None and not self._ended.is_set():
            notice = wait_for_notice(LISTEN_SECONDS)
        if notice is not None and notice.process != processes.process_index():
            reason = f"process {notice.process} leaves: {notice.reason}"
            self.report_and_end(notice.code, reason)


def announce_exit(code: int, reason: str) -> ExitNotice | None:
    """Tell the other processes why this one ends; return the notice that came first, which counts.

    Returns None where the coordination service does not answer.
    """
    notice = json.dumps(ExitNotice(processes.process_index(), code, reason))
    client = processes.coordination_client()
    if not exits.run_within(ANNOUNCE_SECONDS, lambda: client.key_value_set(KEY, notice)):
        return None
    return wait_for_notice(ANNOUNCE_SECONDS)


def wait_for_notice(seconds: float) -> ExitNotice | None:
    """Return the first exit notice of any process; None if there is none within `seconds`."""
    client = processes.coordination_client()
    try:
        return ExitNotice(*json.loads(client.blocking_key_value_get(KEY, int(seconds * 1000))))
    except Exception:  # nothing yet, or the service is gone, which jax itself reports
        time.sleep(0.1)
        return None


def exit_on_abort(code: Callable[[], int]) -> object:
    """Exit with a code where jax would abort() this process because another one is gone.

    code: returns the code at that moment; with STUCK, the stacks are printed. Processes that end
    together may lose the others a moment earlier, and must keep their code. jax offers a callback,
    which its bindings cannot call (jaxlib 0.10: std::bad_cast), and a Python signal handler would
    come too late.
    Returns an object that must be kept alive.
    """

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def handle_abort(number: int) -> None:
        if code() == errors.STUCK:
            os.write(2, b"maskmim: another process is gone (see above); the stacks of this one:\n")
            faulthandler.dump_traceback(file=2, all_threads=True)
        os._exit(code())

    ctypes.CDLL(None).signal(signal.SIGABRT, handle_abort)
    return handle_abort


def _wait_for_others() -> None:
    processes.coordination_client().wait_at_barrier(KEY, int(MEET_SECONDS * 1000))
