"""A stop at any moment: all finished steps are saved, soon, with one exit code."""

import os
import signal
import subprocess
import time

import pytest

from maskmim import errors
from maskmim.checkpoints.reader import stored_steps
from maskmim.reporting.metrics_log import read_metrics
from tests.running import ROOT, command, environment, run

# On a free machine a few seconds; the tests also run where others do.
SECONDS = 150
CONFIG = f"--config={ROOT}/tests/faults/odd_config.py"
LONG = ("--config.train.epochs=5000.0", "--config.checkpoint.every_epochs=0.0")
EVALUATES = (
    "--config=configs/mae.py:tiny",
    "--config.train.epochs=60.0",
    "--config.checkpoint.every_epochs=0.0",
    "--config.evals.every_epochs=0.5",
    "--config.evals.during=linear_probe",
    "--config.evals.at_end=knn",
    "--config.evals.train.split=val",
    "--config.evals.test.split=val",
)


class Training:
    """A training in its own process group, watched through its output and its folder."""

    def __init__(self, folder, programs, *flags):
        self.workdir, self.log = folder / "run", folder / "log"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command("train", *flags, f"--workdir={self.workdir}"),
                cwd=ROOT,
                env=environment(**programs),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, happened, seconds=300):
        until = time.monotonic() + seconds
        while not happened():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.02)

    def says(self, text):
        return lambda: text in self.log.read_text()

    def has_logged(self, step):
        return lambda: self.last_logged() >= step

    def last_logged(self):
        return max((row["step"] for row in read_metrics(self.workdir / "metrics.jsonl")), default=0)

    def saved(self):
        return max(stored_steps(self.workdir / "checkpoints"), default=0)

    def signal(self, *numbers, group=False):
        """Send signals; return the seconds until the process exited with SAVED."""
        began = time.monotonic()
        for number in numbers:
            (os.killpg if group else os.kill)(self.process.pid, number)
            time.sleep(0.05)
        assert self.process.wait(timeout=SECONDS) == errors.SAVED, self.log.read_text()
        return time.monotonic() - began


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Return the variables of a compilation cache that all tests share."""
    return {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("programs"))}


@pytest.fixture
def training(tmp_path, programs):
    started = []

    def start(*flags, compiled=True):
        started.append(Training(tmp_path, programs if compiled else {}, *flags))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
            each.process.wait()


def check(training, took):
    """Check that the training ended in time, and lost one step at most."""
    print(f"{took:.1f} s")
    assert took < SECONDS
    assert training.saved() >= training.last_logged() - 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGUSR1,), (signal.SIGUSR1, signal.SIGTERM)],
    ids=lambda numbers: "+".join(number.name for number in numbers),
)
def test_between_steps_the_step_is_saved(training, numbers):
    run = training(CONFIG, *LONG)
    run.wait_for(run.has_logged(20))
    check(run, run.signal(*numbers))
    assert run.saved() >= 20


@pytest.mark.slow
def test_while_starting_and_compiling_there_is_nothing_to_save(training):
    first = training(CONFIG, *LONG)
    first.wait_for(first.says("maskmim: pretraining"))
    check(first, first.signal(signal.SIGUSR1))
    again = training(CONFIG, *LONG, "--config.process.compile_cache=", compiled=False)
    again.wait_for((again.workdir / "images" / "masks.png").exists)
    check(again, again.signal(signal.SIGTERM))
    assert "during 'compile'" in again.log.read_text() or "during 'init'" in again.log.read_text()


@pytest.mark.slow
def test_an_evaluation_is_left_with_the_step_before_it_saved_and_the_last_one_is_done_again(
    training,
):
    first = training(*EVALUATES)
    first.wait_for(lambda: first.saved() > 0)
    time.sleep(1.0)
    check(first, first.signal(signal.SIGTERM))
    assert "during 'evaluation'" in first.log.read_text()
    step = first.saved()
    shorter = [
        flag for flag in EVALUATES if "epochs=60" not in flag and "every_epochs=0.5" not in flag
    ]
    shorter += [f"--config.train.epochs={(step + 2) * 16 / 296}"]
    last = training(*shorter)
    last.wait_for(lambda: last.saved() == step + 2)
    time.sleep(1.0)
    check(last, last.signal(signal.SIGINT))
    done = run("train", *shorter, f"--workdir={last.workdir}")
    assert done.returncode == errors.DONE, done.stderr
    assert (last.workdir / "results.json").exists()


@pytest.mark.slow
def test_data_that_hang_do_not_keep_it(training, tmp_path):
    blocked = tmp_path / "blocked"
    run = training(CONFIG, *LONG, f"--config.data.train.blocked={blocked}")
    run.wait_for(run.has_logged(20))
    blocked.touch()
    time.sleep(2.0)
    done = run.last_logged()
    check(run, run.signal(signal.SIGTERM))
    assert run.saved() >= done


@pytest.mark.slow
def test_data_that_hang_end_a_process_that_nobody_stops(training, tmp_path):
    blocked = tmp_path / "blocked"
    flags = (f"--config.data.train.blocked={blocked}", "--config.process.stuck_after_seconds=10")
    run = training(CONFIG, *LONG, *flags)
    run.wait_for(run.has_logged(20))
    blocked.touch()
    began = time.monotonic()
    assert run.process.wait(timeout=SECONDS) == errors.STUCK, run.log.read_text()
    assert time.monotonic() - began > 10
    stacks = (run.workdir / "stuck-0.txt").read_text()
    assert "no progress in 'data'" in stacks and "until_stopped" in stacks


@pytest.mark.slow
def test_worker_processes_may_hear_of_it_too(training):
    run = training(CONFIG, *LONG, "--config.data.workers=1")
    run.wait_for(run.has_logged(20))
    check(run, run.signal(signal.SIGTERM, group=True))


@pytest.mark.slow
def test_nobody_reads_what_it_prints(tmp_path):
    """`train | head -1`: training goes on, and ends with its own code."""
    words = command("train", CONFIG, "--config.train.epochs=5.0", f"--workdir={tmp_path / 'run'}")
    training = subprocess.Popen(
        words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    training.stdout.readline()
    training.stdout.close()
    assert training.wait(timeout=300) == errors.DONE
    assert max(stored_steps(tmp_path / "run" / "checkpoints")) == 20
