"""Worker processes die, get signals, and lose their parent; figure R23."""

import contextlib
import gc
import itertools
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from maskmim import errors
from maskmim.checkpoints.reader import stored_steps
from maskmim.data import workers
from maskmim.data.arrays import ArrayRecords
from maskmim.data.pipeline import train_batches
from maskmim.data.transforms import random_resized_crop_flip
from maskmim.data.workers import WorkersDied, restart_dead_workers
from maskmim.reporting.metrics_log import read_metrics
from maskmim.types import Spec
from tests.running import ROOT, command, environment, run

pytestmark = pytest.mark.full

# Seconds that count as a hang on a busy test machine; the promised figure is 60 s.
PROMISED = 300


def stream(count=101, batch_size=8, side=32, processes=2, start=0):
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return train_batches(
        ArrayRecords(images, {}, classes={}, title="pictures"),
        spec=Spec((side, side), 3, (0.5,) * 3, (0.25,) * 3),
        batch_size=batch_size,
        seed=1,
        augment=partial(random_resized_crop_flip, scale=(0.3, 1.0)),
        workers=processes,
        threads=1,
        start_batch=start,
    )


def pids():
    """Return the process ids of the workers that grain started here."""
    alive = multiprocessing.active_children()
    return [child.pid for child in alive if child.name.startswith("grain-process-prefetch")]


def gone(pid):
    """Return whether a process has ended, also if its exit code was not collected yet."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def wait_until(true, seconds=PROMISED):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


@contextlib.contextmanager
def at_most(seconds):
    """Raise TimeoutError in a test that hangs, which is the fault that it looks for."""

    def late(number, frame):
        raise TimeoutError(f"nothing happened for {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def assert_same(batches, reference):
    for one, other in zip(batches, reference, strict=True):
        np.testing.assert_array_equal(one["record"], other["record"])
        np.testing.assert_array_equal(one["image"], other["image"])


def test_a_killed_worker_costs_no_batch(capfd):
    reference = list(itertools.islice(stream(processes=0), 24))
    batches = stream()
    received = [next(batches) for _ in range(5)]
    os.kill(pids()[-1], signal.SIGKILL)
    with at_most(PROMISED):
        received += [next(batches) for _ in range(19)]
    assert_same(received, reference)
    printed = capfd.readouterr().err
    assert printed.count("died by SIGKILL (the machine may be out of memory") == 1, printed
    assert "all workers restart at batch" in printed
    assert len(pids()) == 2
    del batches
    gc.collect()
    wait_until(lambda: not pids())


class Dying:
    """An iterator as grain's, whose worker dies at batch `last`."""

    def __init__(self, number, last, error):
        self.number, self.last, self.error, self.closed = number, last, error, False

    def __next__(self):
        if self.number == self.last:
            raise self.error
        self.number += 1
        return self.number - 1

    def close(self):
        self.closed = True


def dead(code):
    return RuntimeError(f"Worker process was terminated unexpectedly with exit code {code}. Search")


def healed(deaths, first=0):
    """Return the batches of workers that die at these numbers, and all iterators that were made."""
    begun, left = [], list(deaths)

    def begin(number):
        begun.append(Dying(number, left.pop(0) if left else -1, dead(-9)))
        return begun[-1]

    return restart_dead_workers(begin, first), begun


def test_batches_go_on_where_they_stopped():
    batches, iterators = healed([7, 7, 9], first=5)
    assert list(itertools.islice(batches, 10)) == list(range(5, 15))
    assert [each.closed for each in iterators] == [True, True, True, False]
    batches.close()
    assert iterators[-1].closed


def test_workers_that_die_again_and_again_end_the_run():
    batches, iterators = healed([3, 3, 5, 900])
    with pytest.raises(
        WorkersDied, match="died 4 times within 898 batches, the last by SIGKILL"
    ) as e:
        list(itertools.islice(batches, 2000))
    assert e.value.exit_code == errors.STUCK
    assert all(each.closed for each in iterators)


def test_rare_deaths_are_healed_for_ever():
    deaths = [400 * times for times in range(1, 20)]
    batches, _ = healed(deaths)
    assert list(itertools.islice(batches, 9000)) == list(range(9000))


def test_other_errors_are_not_taken_for_a_death():
    iterators = []

    def begin(number):
        iterators.append(Dying(number, 2, RuntimeError("an augmentation failed")))
        return iterators[-1]

    with pytest.raises(RuntimeError, match="an augmentation failed"):
        list(restart_dead_workers(begin, 0))
    assert len(iterators) == 1 and iterators[0].closed


@pytest.mark.parametrize(
    "code, words",
    [
        (-7, "SIGBUS (/dev/shm may be full"),
        (-9, "SIGKILL (the machine may be out of memory"),
        (-15, "SIGTERM"),
        (-250, "signal 250"),
        (3, "exit code 3"),
    ],
)
def test_a_death_is_told_with_its_likely_cause(code, words):
    assert workers.describe_exit(workers.worker_exit_code(dead(code))).startswith(words)


def test_closing_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(workers, "CLOSE_SECONDS", 0.05)
    forever = threading.Event()

    class Stuck:
        def close(self):
            forever.wait(30)

    started = time.monotonic()
    workers.close_workers(Stuck())
    assert time.monotonic() - started < 10
    forever.set()


# Signals reach the whole group, as Ctrl-C and SLURM send them; the parent then dies untold.
GROUP = """
import os, signal, sys, threading, time
from tests.faults.test_workers import children_of, pids, stream

def send():
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM):
        os.killpg(0, number)

if __name__ == "__main__":
    heard = []
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda number, frame: heard.append(number))
    batches = stream()
    beginning = threading.Thread(target=next, args=(batches,))
    beginning.start()
    while len(children_of(os.getpid())) < 2:
        time.sleep(0.001)
    before = sorted(children_of(os.getpid()))
    send()  # while they begin: Python itself has hardly begun there
    beginning.join()
    assert len(heard) == 4, heard
    for _ in range(4):  # of both workers
        next(batches)
    send()
    for _ in range(12):
        next(batches)
    assert len(heard) == 8 and sorted(pids()) == before, (heard, before, pids())
    batches.close()
    batches = stream()  # workers that no signal has reached
    for _ in range(4):  # of both workers
        next(batches)
    print(*pids(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_outlive_signals_to_the_group_and_not_their_parent(tmp_path):
    script = tmp_path / "group.py"
    script.write_text(GROUP)
    result = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        env=environment(),
        stdout=(tmp_path / "out").open("wb"),  # a pipe would wait for workers that are left
        stderr=(tmp_path / "err").open("wb"),
        timeout=60,
        start_new_session=True,
        check=False,
    )
    assert result.returncode == -signal.SIGKILL, (tmp_path / "err").read_text()
    left = [int(word) for word in (tmp_path / "out").read_text().split()]
    assert len(left) == 2
    wait_until(lambda: all(map(gone, left)))


@pytest.mark.slow
def test_workers_killed_at_random_instants(monkeypatch, capfd):
    """Kill workers, and print the longest wait for a batch."""
    monkeypatch.setattr(workers, "WITHIN_BATCHES", 0)
    chance, longest, number = random.Random(0), 0.0, 0
    reference, batches = stream(processes=0), stream()
    next(batches), next(reference)
    for _ in range(25):
        chosen = chance.choice(pids())
        killing = threading.Timer(chance.uniform(0, 0.2), os.kill, (chosen, signal.SIGKILL))
        killing.start()
        until = time.monotonic() + 0.5
        while not gone(chosen) or time.monotonic() < until or len(pids()) < 2:
            began = time.monotonic()
            with at_most(PROMISED):
                batch = next(batches)
            longest = max(longest, time.monotonic() - began)
            assert_same([batch], [next(reference)])
            number += 1
        killing.join()
    told = capfd.readouterr().err.count("died by SIGKILL")
    with capfd.disabled():
        print(f"\n{told} deaths in {number} batches, longest wait {longest:.1f} s")
    assert told >= 20


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 2])
def test_memory_does_not_grow_over_100_000_pictures(processes, capfd):
    """Resident memory of this process and its workers, after a tenth of them and at the end."""
    batches = stream(count=1000, batch_size=100, side=64, processes=processes)
    sizes = {}
    for number in range(1, 1101):
        next(batches)
        if number in (100, 600, 1100):
            gc.collect()
            sizes[number] = sum(map(resident, [os.getpid(), *pids()]))
    with capfd.disabled():
        print(f"\n{processes} workers, resident MiB: { ({n: s >> 20 for n, s in sizes.items()}) }")
    assert sizes[1100] < 1.01 * sizes[100]
    assert resident(os.getpid(), "RssShmem") < 20 * 100 * 64 * 64 * 3  # batches on their way


def resident(pid, kind="RssAnon"):
    """Return the bytes of memory of a process, by default without shared memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(kind))


TRAINING = (
    "--config=configs/colormae.py:tiny",
    "--config.train.epochs=1.5",
    "--config.checkpoint.every_epochs=0.5",
    "--config.evals.at_end=()",
    "--config.log.every_steps=1",
)


def children_of(pid):
    """Return the process ids of a training's workers: its spawned children."""
    children = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"spawn_main" in (path.parent / "cmdline").read_bytes():
                children.append(int(path.parent.name))
    return children


def losses(workdir):
    return {
        row["step"]: row["loss"] for row in read_metrics(workdir / "metrics.jsonl") if "loss" in row
    }


@pytest.fixture
def training(tmp_path):
    """Yield a training with two workers in its own process group, after its third step."""
    workdir = tmp_path / "run"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command("train", *TRAINING, "--config.data.workers=2", f"--workdir={workdir}"),
            cwd=ROOT,
            env=environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    metrics = workdir / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and metrics.read_text().count("\n") >= 3, 500)
    yield process, workdir, tmp_path / "log"
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_training_goes_on_with_the_same_losses_after_a_kill(training, tmp_path):
    process, workdir, log = training
    os.kill(children_of(process.pid)[0], signal.SIGKILL)
    assert process.wait(timeout=500) == errors.DONE, log.read_text()
    assert "died by SIGKILL" in log.read_text()
    undisturbed = run("train", *TRAINING, f"--workdir={tmp_path / 'alone'}")
    assert undisturbed.returncode == errors.DONE, undisturbed.stderr
    assert len(losses(workdir)) == 28
    assert losses(workdir) == losses(tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_whose_group_is_told_to_stop_saves(training, number):
    process, workdir, log = training
    left = children_of(process.pid)
    assert len(left) == 2
    os.killpg(process.pid, number)
    assert process.wait(timeout=300) == errors.SAVED, log.read_text()
    assert max(losses(workdir)) in map(int, stored_steps(workdir / "checkpoints"))
    wait_until(lambda: all(map(gone, left)))
