"""Stop signals: read whatever the main thread does, and acted on in the right phases."""

import hashlib
import os
import queue
import signal
import threading
import time

import pytest

from maskmim import errors
from maskmim.runtime import exits
from maskmim.runtime.signals import INTERRUPTIBLE_PHASES, StopRequested, StopSignals
from maskmim.runtime.timeline import Timeline


class Left:
    """A callable instead of ending the process: records the message and the time."""

    def __init__(self):
        self.why, self.at, self.event = "", 0.0, threading.Event()

    def __call__(self, why):
        self.why, self.at = why, time.monotonic()
        self.event.set()


@pytest.fixture
def stopping():
    """Yield (timeline, recorder of the end, StopSignals), with handlers installed."""
    times, left = Timeline(), Left()
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup may have ignored it
    with StopSignals(times, left) as stop:
        yield times, left, stop
    signal.signal(signal.SIGHUP, hangup)


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"])
def test_a_signal_during_a_step_is_a_request_and_no_more(stopping, name):
    times, left, stop = stopping
    with times.during("step"):
        send(getattr(signal, name))
        assert stop.requested == name
        assert not left.event.wait(0.6)
    with times.during("checkpoint"):
        assert not left.event.wait(0.6)


@pytest.mark.parametrize("phase", INTERRUPTIBLE_PHASES)
def test_a_signal_in_an_interruptible_phase_ends_at_once(stopping, phase):
    times, left, stop = stopping
    stop.outcome = lambda: "the outcome"
    with times.during(phase):
        send(signal.SIGTERM)
        assert left.event.wait(10)
    assert left.why == f"SIGTERM during {phase!r}: the outcome"


def test_a_main_thread_deep_in_c_does_not_keep_the_signal_waiting(stopping):
    """As in a compiler: no Python handler runs before the call returns."""
    times, left, _ = stopping
    began = time.monotonic()
    hashlib.pbkdf2_hmac("sha256", b"deep", b"in c", 100_000)
    rounds = int(100_000 * 1.5 / (time.monotonic() - began))  # 1.5 s on this machine
    with times.during("compile"):
        threading.Timer(0.3, send, [signal.SIGUSR1]).start()
        hashlib.pbkdf2_hmac("sha256", b"deep", b"in c", rounds)
        ended = time.monotonic()
    assert left.event.is_set() and left.at < ended


def test_a_request_made_before_such_a_phase_counts_in_it(stopping):
    times, left, stop = stopping
    with times.during("step"):
        send(signal.SIGTERM)
        assert not left.event.wait(0.3)
    with times.during("evaluation"):
        assert left.event.wait(10)
    assert stop.requested == "SIGTERM"


def test_waiting_for_a_batch_is_broken_off(stopping):
    times, left, stop = stopping
    threading.Timer(0.3, send, [signal.SIGTERM]).start()
    with times.during("data"), pytest.raises(StopRequested), stop.raise_on_stop():
        queue.Queue().get(timeout=30)
    with pytest.raises(StopRequested), stop.raise_on_stop():
        raise AssertionError("no batch is asked for any more")
    assert not left.event.is_set()


def test_repeated_signals_change_nothing(stopping):
    times, left, stop = stopping
    with times.during("checkpoint"):
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            send(number)
            time.sleep(0.1)
        assert not left.event.wait(0.5)
    assert stop.requested == "SIGUSR1"


def test_a_second_ctrl_c_leaves_at_once(stopping, monkeypatch):
    times, _, _ = stopping
    codes, event = [], threading.Event()

    def leave(code):
        codes.append(code)
        event.set()

    monkeypatch.setattr(exits, "exit_now", leave)
    with times.during("checkpoint"):
        send(signal.SIGINT)
        time.sleep(0.2)
        assert not event.is_set()
        send(signal.SIGINT)
        assert event.wait(10)
    assert codes == [errors.INTERRUPTED]


def listeners():
    """Return the threads that read signals."""
    return {thread for thread in threading.enumerate() if thread.name == "signals"}


def test_handlers_are_as_before_afterwards_and_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        old = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        others = set(threading.enumerate())
        with StopSignals(Timeline(), Left()) as stop:
            send(signal.SIGHUP)
            time.sleep(0.2)
            assert stop.requested == "" and len(listeners() - others) == 1
        assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == old
        for _ in range(100):
            if not (left := listeners() - others):
                break
            time.sleep(0.05)
        assert not left
    finally:
        signal.signal(signal.SIGHUP, before)
