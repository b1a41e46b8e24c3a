"""A process that makes no progress is ended; one that works, or was suspended, is not."""

import subprocess
import sys
import threading
import time

import pytest

from maskmim import errors
from maskmim.runtime.timeline import Phase, Timeline
from maskmim.runtime.watchdog import PhaseTimer, Watchdog, stuck_message
from tests.running import environment


def patience(limit=10.0):
    return PhaseTimer(lambda name: limit if name == "step" else 0.0, gap=2.0)


def test_a_phase_may_last_its_limit_and_no_longer():
    watched, phase = patience(), Phase("step", 100.0)
    assert [watched.check(phase, 100.0 + second) for second in range(11)] == [None] * 11
    assert watched.check(phase, 111.0) == pytest.approx(11.0)


def test_the_next_step_begins_anew():
    watched = patience()
    for second in range(100):
        since = 100.0 + second - second % 9
        assert watched.check(Phase("step", since), 100.0 + second) is None


def test_a_phase_without_a_limit_may_last():
    watched = patience()
    assert not any(watched.check(Phase("init", 0.0), float(second)) for second in range(1000))


def test_time_in_which_the_process_was_stopped_does_not_count():
    watched, phase = patience(), Phase("step", 0.0)
    assert watched.check(phase, 0.0) is None
    assert watched.check(phase, 5000.0) is None  # Ctrl-Z, a long lunch, fg
    later = [watched.check(phase, 5000.0 + second) for second in range(1, 9)]
    assert later == [None] * 8
    assert watched.check(phase, 5009.0) == pytest.approx(11.0)


def test_what_is_said_names_phase_and_key():
    assert "'data'" in stuck_message(Phase("data", 0.0), 33.0)
    assert "process.stuck_after_seconds" in stuck_message(Phase("data", 0.0), 33.0)
    assert "process.stuck_elsewhere_seconds" in stuck_message(Phase("evaluation", 0.0), 33.0)


def watching(tmp_path, in_steps, elsewhere=0.0):
    """Return a watchdog that only sets an event, its timeline, and the event."""
    left, times = threading.Event(), Timeline()
    dog = Watchdog(
        times,
        tmp_path / "stuck-0.txt",
        in_steps=in_steps,
        elsewhere=elsewhere,
        end_process=lambda why: left.set(),
    )
    return dog, times, left


def test_a_step_that_hangs_is_told_with_the_stacks_of_all_threads(tmp_path, capfd):
    dog, times, left = watching(tmp_path, in_steps=0.3)
    with dog, times.during("step"):
        assert left.wait(20)
    dumped = (tmp_path / "stuck-0.txt").read_text()
    assert "no progress in 'step'" in dumped and "in test_a_step_that_hangs" in dumped
    assert dumped.count("Thread 0x") + dumped.count("Current thread 0x") >= 2
    assert "in test_a_step_that_hangs" in capfd.readouterr().err


def test_a_folder_that_is_gone_does_not_keep_it(tmp_path):
    dog, times, left = watching(tmp_path / "gone", in_steps=0.3)
    with dog, times.during("data"):
        assert left.wait(20)


def test_steps_that_end_keep_it_quiet(tmp_path):
    dog, times, left = watching(tmp_path, in_steps=2.0)
    with dog:
        until = time.monotonic() + 4.0
        while time.monotonic() < until:
            with times.during("step"):
                time.sleep(0.05)
    assert not left.is_set()


def test_without_limits_there_is_no_thread(tmp_path):
    dog, _, _ = watching(tmp_path, in_steps=0.0)
    before = threading.active_count()
    with dog:
        assert threading.active_count() == before


HANGS = """
import multiprocessing, sys, threading, time
from pathlib import Path
from maskmim.runtime import exits
from maskmim.runtime.timeline import Timeline
from maskmim.runtime.watchdog import Watchdog

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(1000,))
    child.start()
    print(child.pid, flush=True)
    times = Timeline()
    dog = Watchdog(times, Path("stuck-0.txt"), in_steps=0.5, elsewhere=0.0,
                   end_process=lambda why: exits.exit_now(70))
    with dog, times.during("data"):
        threading.Lock().acquire()
        forever = threading.Lock()
        forever.acquire()
        forever.acquire()
"""


def test_a_process_that_hangs_ends_with_its_code_and_takes_its_workers_along(tmp_path):
    (tmp_path / "hangs.py").write_text(HANGS)
    result = subprocess.run(
        [sys.executable, "hangs.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == errors.STUCK, result.stderr
    assert "no progress in 'data'" in result.stderr
    worker = int(result.stdout.split()[0])
    for _ in range(100):
        if not running(worker):
            return
        time.sleep(0.1)
    raise AssertionError("the worker outlives its process")


def running(pid):
    """Return whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
