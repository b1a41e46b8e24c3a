"""Two processes on one machine train as one does: losses, evaluation, checkpoints, stopping."""

import json
import socket
import subprocess
import time

import pytest

from maskmim import errors
from maskmim.runtime import exits
from maskmim.runtime.workdir_lock import WorkdirLock
from maskmim.train import main
from tests.running import ROOT, SMALL, as_tests, command, environment

pytestmark = pytest.mark.full

FLAGS = (
    "--config=configs/colormae.py:tiny",
    *SMALL,
    "--config.evals.test.split=val",
    "--config.train.epochs=0.8",
    "--config.checkpoint.every_epochs=0.25",
)
# Probes read all photographs twice, and four processes share two cores.
LONG = (
    "--config.evals.train.split=val",
    "--config.evals.at_end=knn,reconstruction",
)


# Where losses alone are looked at.
UNEVALUATED = "--config.evals.at_end=()", "--config.evals.monitors=()"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_all(count, workdir, *flags):
    """Start `count` processes of one training; the output of each goes to a file."""
    port, started = free_port(), []
    for process in range(count):
        place = (f"--coordinator=127.0.0.1:{port}", f"--processes={count}", f"--process={process}")
        words = command("train", *FLAGS, *flags, *place, f"--workdir={workdir}")
        with (workdir.parent / f"out{process}").open("w") as stream:
            output = {"stdout": stream, "stderr": subprocess.STDOUT}
            made = subprocess.Popen(words, cwd=ROOT, env=environment(**as_tests()), **output)
        started.append(made)
    return started


def outputs(workdir, count):
    return [(workdir.parent / f"out{process}").read_text() for process in range(count)]


def losses(workdir):
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def wait_for_lines(workdir, count):
    """Wait until `count` steps are logged, at most five minutes."""
    metrics = workdir / "metrics.jsonl"
    for _ in range(15_000):
        if metrics.exists() and metrics.read_text().count("\n") >= count:
            return
        time.sleep(0.02)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Return the work directory of a run of one process."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    assert exits.run(main, [*FLAGS, f"--workdir={workdir}"]) == errors.DONE
    return workdir


def test_two_processes_train_and_evaluate_as_one(alone, tmp_path):
    workdir = tmp_path / "run"
    started = start_all(2, workdir)
    codes = [process.wait(timeout=600) for process in started]
    printed = outputs(workdir, 2)
    assert codes == [0, 0], printed
    one, two = losses(alone), losses(workdir)
    assert one.keys() == two.keys()
    assert max(abs(one[step] / two[step] - 1) for step in one) < 1e-5
    assert "sampler" in printed[0] and "sampler" not in printed[1]  # only one of them talks
    compare_results(alone, workdir)


def compare_results(first, second):
    """Check that the results of two runs agree."""
    one, two = (json.loads((p / "results.json").read_text()) for p in (first, second))
    assert one.keys() == two.keys()
    errors = [result["reconstruction"] for result in (one, two)]
    for name, value in errors[0].items():
        assert errors[1][name] == pytest.approx(value, rel=1e-3), name


def test_all_stop_when_one_is_asked_to_and_any_number_goes_on(alone, tmp_path):
    workdir = tmp_path / "run"
    started = start_all(2, workdir, *UNEVALUATED)
    wait_for_lines(workdir, 2)
    started[1].terminate()
    codes = [process.wait(timeout=300) for process in started]
    assert codes == [errors.SAVED, errors.SAVED], outputs(workdir, 2)
    assert exits.run(main, [*FLAGS, *UNEVALUATED, f"--workdir={workdir}"]) == errors.DONE
    one, two = losses(alone), losses(workdir)
    assert one.keys() == two.keys()
    assert max(abs(one[step] / two[step] - 1) for step in one) < 1e-5


def test_all_are_refused_where_another_training_is(tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    lock = WorkdirLock(workdir, lost=print, say=print)
    lock.acquire()
    codes = [process.wait(timeout=300) for process in start_all(2, workdir)]
    lock.release()
    assert codes == [errors.USAGE] * 2, outputs(workdir, 2)
    assert all("is in use: another training holds it" in text for text in outputs(workdir, 2))
    assert not list(workdir.iterdir())  # none of them has opened anything


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_training_ends_the_other_and_both_go_on_from_the_checkpoint(
    alone, tmp_path, killed
):
    workdir = tmp_path / "run"
    started = start_all(2, workdir)
    wait_for_lines(workdir, 6)
    started[killed].kill()
    other = started[1 - killed]
    assert other.wait(timeout=200) == errors.STUCK, outputs(workdir, 2)
    assert "another process is gone" in outputs(workdir, 2)[1 - killed]
    again = [process.wait(timeout=600) for process in start_all(2, workdir)]
    assert again == [errors.DONE] * 2, outputs(workdir, 2)
    one, two = losses(alone), losses(workdir)
    assert one.keys() == two.keys()
    assert max(abs(one[step] / two[step] - 1) for step in one) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [(), ("--config.mesh.fsdp=2",)])
def test_four_processes_with_probes(tmp_path, mesh):
    alone = tmp_path / "one" / "run"
    assert exits.run(main, [*FLAGS, *LONG, f"--workdir={alone}"]) == errors.DONE
    workdir = tmp_path / "four" / "run"
    workdir.parent.mkdir()
    started = start_all(4, workdir, *LONG, *mesh)
    codes = [process.wait(timeout=900) for process in started]
    assert codes == [0] * 4, outputs(workdir, 4)
    one, four = losses(alone), losses(workdir)
    assert one.keys() == four.keys()
    assert max(abs(one[step] / four[step] - 1) for step in one) < 1e-5
    compare_results(alone, workdir)
    probes = [json.loads((p / "results.json").read_text())["probes"] for p in (alone, workdir)]
    mine = [each["encoders"]["this encoder"]["metrics"] for each in probes]
    for name, value in mine[0].items():
        assert mine[1][name] == pytest.approx(value, abs=0.02), name
