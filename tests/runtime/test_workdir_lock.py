"""One training at a time in a work directory, whatever happened to the one before."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maskmim.runtime import workdir_lock as module
from maskmim.runtime.workdir_lock import NAME, InUse, WorkdirLock, parse_holder, this_process
from tests.running import ROOT

# Takes the lock, says so, and holds it until its input ends.
HOLD = """
import sys
from maskmim.runtime.workdir_lock import InUse, WorkdirLock
lock = WorkdirLock(sys.argv[1], lost=print, say=print)
try:
    lock.acquire()
except InUse as error:
    print("refused", error, flush=True)
    raise SystemExit(2)
print("held", flush=True)
sys.stdin.read()
lock.release()
"""


def start(workdir: Path) -> subprocess.Popen:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    return subprocess.Popen([sys.executable, "-c", HOLD, str(workdir)], **pipes)


@pytest.fixture
def holder(tmp_path):
    """Yield a process that holds the work directory."""
    process = start(tmp_path)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def lock_of(workdir, said=None, lost=print, **options):
    said = [] if said is None else said
    return WorkdirLock(workdir, lost=lost, say=said.append, **options)


def planted(workdir, **changes):
    """Write the lock of a process elsewhere, or of one that differs otherwise; return its path."""
    holder = this_process()._replace(**{"machine": "elsewhere", "host": "node7", **changes})
    path = workdir / NAME
    path.write_text(json.dumps(holder._asdict()))
    return path


def test_a_second_training_is_refused_at_once_with_who_and_since_when(tmp_path, holder):
    began = time.monotonic()
    with pytest.raises(InUse) as error:
        lock_of(tmp_path).acquire()
    assert time.monotonic() - began < 1 and InUse.exit_code == 2
    for word in (f"process {holder.pid} on ", "since 20", "--workdir", str(tmp_path / NAME)):
        assert word in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_lock_that_was_given_back_leaves_nothing(tmp_path, holder):
    holder.communicate("")
    assert not list(tmp_path.iterdir())
    said = []
    lock = lock_of(tmp_path, said)
    lock.acquire()
    assert parse_holder((tmp_path / NAME).read_text()).process == os.getpid() and not said
    lock.release()
    lock.release()
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    while module.process_status(holder.pid)[0] not in ("Z", ""):  # nobody has waited for it yet
        time.sleep(0.01)
    said, began = [], time.monotonic()
    lock = lock_of(tmp_path, said)
    lock.acquire()
    assert time.monotonic() - began < 2
    assert len(said) == 1 and f"process {holder.pid} on" in said[0] and "taking over" in said[0]
    lock.release()


def test_a_stopped_process_keeps_its_lock(tmp_path, holder):
    holder.send_signal(signal.SIGSTOP)
    with pytest.raises(InUse):
        lock_of(tmp_path).acquire()


def test_a_process_with_the_number_of_a_dead_one_holds_nothing(tmp_path):
    planted(tmp_path, machine=module.machine(), started="1")
    lock = lock_of(tmp_path)
    lock.acquire()
    lock.release()


def test_of_many_that_start_at_once_on_a_stale_lock_one_wins(tmp_path):
    planted(tmp_path, machine=module.machine(), started="1")
    processes = [start(tmp_path) for _ in range(6)]
    last = []
    for process in processes:
        lines = iter(process.stdout.readline, "")
        last.append(next(line for line in lines if line.startswith(("held", "refused"))))
    assert sorted(line.split()[0] for line in last) == ["held", *["refused"] * 5], last
    for process in processes:
        process.communicate("")
    assert not list(tmp_path.iterdir())


def test_a_holder_elsewhere_that_renews_its_lock_is_alive(tmp_path, monkeypatch):
    lock = lock_of(tmp_path, beat=0.1)
    lock.acquire()
    monkeypatch.setattr(module, "machine", lambda: "another host")
    said = []
    with pytest.raises(InUse, match=f"process {os.getpid()} on"):
        lock_of(tmp_path, said, beat=0.1, patience=5).acquire()
    assert len(said) == 1 and "waiting up to 5 s" in said[0]
    lock.release()


@pytest.mark.parametrize("age", [0, 3600])
def test_a_holder_elsewhere_that_does_not_is_dead_after_a_while(tmp_path, age):
    path = planted(tmp_path)
    os.utime(path, (time.time() - age,) * 2)
    said, began = [], time.monotonic()
    lock = lock_of(tmp_path, said, beat=0.1, patience=1)
    lock.acquire()
    assert (time.monotonic() - began > 1) == (age == 0)
    assert "on node7" in said[-1] and "taking over" in said[-1]
    lock.release()


@pytest.mark.parametrize("text", ["", "{", '{"token": 1}'])
def test_a_damaged_file_is_nobody_s_after_a_while(tmp_path, text):
    (tmp_path / NAME).write_text(text)
    lock = lock_of(tmp_path, beat=0.1, patience=0.5)
    lock.acquire()
    lock.release()


def test_a_holder_that_was_taken_for_dead_ends(tmp_path):
    lost = []
    lock = lock_of(tmp_path, lost=lost.append, beat=0.05)
    lock.acquire()
    path = planted(tmp_path)
    until = time.monotonic() + 10
    while not lost and time.monotonic() < until:
        time.sleep(0.02)
    assert len(lost) == 1 and "node7" in lost[0] and "taken over" in lost[0]
    lock.release()
    assert path.exists()  # the file of the other one


def test_a_file_that_somebody_removed_is_made_again(tmp_path):
    lock = lock_of(tmp_path, beat=0.05)
    lock.acquire()
    (tmp_path / NAME).unlink()
    until = time.monotonic() + 10
    while not (tmp_path / NAME).exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert parse_holder((tmp_path / NAME).read_text()) == lock.holder
    lock.release()


def test_without_hard_links_one_wins_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("no hard links here")

    monkeypatch.setattr(module.os, "link", refuse)
    lock = lock_of(tmp_path)
    lock.acquire()
    with pytest.raises(InUse):
        lock_of(tmp_path).acquire()
    lock.release()
    assert not list(tmp_path.iterdir())
