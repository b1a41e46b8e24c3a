"""What continues a run and what does not: moved data, damage, another training, another run."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from maskmim import errors
from maskmim.checkpoints.reader import checksums_path, stored_steps
from maskmim.evals import suite
from maskmim.reporting.metrics_log import read_metrics
from maskmim.runtime import exits
from maskmim.runtime.workdir_lock import NAME, WorkdirLock
from maskmim.train import main
from tests.reporting.test_metrics_log import scalars

pytestmark = pytest.mark.full

STEPS = 6
FLAGS = (
    "--config.model.variant=1x16x2",
    "--config.model.decoder_width=16",
    "--config.model.decoder_depth=1",
    "--config.model.decoder_heads=2",
    "--config.checkpoint.every_epochs=1",
    "--config.log.pictures_every_epochs=0",
    "--config.evals.at_end=knn,reconstruction",
    "--config.evals.probes.knn.k=3",
)


def train(workdir, data, *flags):
    """Run the command in this process; return its exit code."""
    config = f"configs/folder.py:path={data},labelled,test={data},size=16,patch=4,epochs=2,batch=4"
    return exits.run(main, [f"--config={config}", *FLAGS, *flags, f"--workdir={workdir}"])


# Where what an evaluation finds is not looked at.
UNEVALUATED = "--config.evals.at_end=()", "--config.evals.monitors=()"
LONGER = "--config.train.epochs=2.4", *UNEVALUATED


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a folder of twelve pictures in two classes."""
    folder = tmp_path_factory.mktemp("data") / "pictures"
    rng = np.random.default_rng(0)
    for index in range(12):
        path = folder / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """Return the work directory of a finished run, to be copied."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    assert train(workdir, data) == errors.DONE
    return workdir


@pytest.fixture(scope="module")
def other(data, tmp_path_factory):
    """Return the checkpoints of another run on the same data."""
    workdir = tmp_path_factory.mktemp("other") / "run"
    assert train(workdir, data, "--config.seed=1", *UNEVALUATED) == errors.DONE
    return workdir / "checkpoints"


@pytest.fixture
def run(finished, tmp_path):
    """Return a copy of a finished run."""
    return shutil.copytree(finished, tmp_path / "run")


def test_the_last_results_are_in_the_log_and_in_tensorboard(finished):
    last = read_metrics(finished / "metrics.jsonl")[-1]
    results = json.loads((finished / "results.json").read_text())
    metrics = results["probes"]["encoders"]["this encoder"]["metrics"]
    metrics |= results["measures"]["metrics"]
    assert last == {"step": STEPS, **results["reconstruction"], **metrics}
    for name, value in metrics.items():
        assert scalars(finished)[name, STEPS] == pytest.approx(value)
    assert not (finished / NAME).exists()


def test_the_same_data_at_another_place_continue(run, data, tmp_path, capsys):
    moved = shutil.copytree(data, tmp_path / "scratch")
    assert train(run, moved, *LONGER) == errors.DONE
    printed = capsys.readouterr().out
    assert f"data.train.path: '{data}' -> '{moved}'" in printed
    assert f"continuing from step {STEPS} of 7" in printed


def test_a_finished_run_that_is_asked_for_fewer_steps_says_so(run, data, capsys):
    before = (run / "config.json").read_text()
    assert train(run, data, "--config.train.epochs=1") == errors.DONE
    printed = capsys.readouterr().out
    assert f"this run has {STEPS} steps already, more than the 3 asked for" in printed
    assert f"This run is complete: {STEPS} steps. Its results" in printed
    assert f"After {STEPS} steps" in printed and "changed for" not in printed
    assert (run / "config.json").read_text() == before


def test_other_content_of_the_same_names_and_sizes_does_not(run, data, tmp_path, capsys):
    other = shutil.copytree(data, tmp_path / "scratch")
    content = bytearray((other / "a" / "0.png").read_bytes())
    content[-20] ^= 1
    (other / "a" / "0.png").write_bytes(content)
    assert train(run, other, *LONGER) == errors.USAGE
    assert "1 of 12 files that were compared have other content" in capsys.readouterr().err


def test_a_refused_command_removes_no_checkpoint(run, data, other, tmp_path, capsys):
    """Neither where an example was added nor where the newest checkpoint is of another run."""
    folder, keep = run / "checkpoints", "--config.checkpoint.keep_latest=1"
    steps = stored_steps(folder)
    more = shutil.copytree(data, tmp_path / "more")
    shutil.copy(more / "a" / "0.png", more / "a" / "one_more.png")
    assert train(run, more, *LONGER, keep) == errors.USAGE
    assert "trained on 12 other examples" in capsys.readouterr().err
    assert stored_steps(folder) == steps == [3, 6]
    shutil.copytree(other / "6", folder / "9")
    shutil.copy(checksums_path(other, 6), checksums_path(folder, 9))
    assert train(run, data, *LONGER, keep) == errors.USAGE
    assert "belongs to another run" in capsys.readouterr().err
    shutil.rmtree(folder / "9")
    assert train(run, data, *LONGER, keep) == errors.DONE
    assert f"continuing from step {STEPS} of 7" in capsys.readouterr().out
    assert stored_steps(folder) == [7]


def test_other_data_at_another_place_do_not(run, data, tmp_path, capsys):
    other = shutil.copytree(data, tmp_path / "scratch")
    (other / "a" / "0.png").rename(other / "a" / "00.png")
    before = (run / "config.json").read_text()
    assert train(run, other, *LONGER) == errors.USAGE
    assert "trained on other examples" in capsys.readouterr().err
    assert (run / "config.json").read_text() == before


def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_anew(run, data, capsys):
    for path in (run / "checkpoints").rglob("d/*"):
        path.write_bytes(b"")
    before = (run / "metrics.jsonl").read_text()
    for _ in range(2):
        assert train(run, data, *LONGER) == errors.USAGE
        assert "checkpoints-damaged" in capsys.readouterr().err
    assert (run / "metrics.jsonl").read_text() == before
    assert not stored_steps(run / "checkpoints")


@pytest.mark.parametrize("sealed", [True, False], ids=["with sums", "without sums"])
def test_lost_json_files_cost_no_step(run, data, capsys, sealed):
    folder = run / "checkpoints"
    if not sealed:
        checksums_path(folder, STEPS).unlink()
    (folder / str(STEPS) / "data" / "metadata").unlink()
    (folder / str(STEPS) / "config" / "metadata").write_text("{")
    (run / "config.json").unlink()
    assert train(run, data, *LONGER) == errors.DONE
    assert f"continuing from step {STEPS} of 7" in capsys.readouterr().out


def test_a_run_without_checkpoints_begins_anew_and_empties_no_log(run, data, capsys):
    shutil.rmtree(run / "checkpoints")
    before = read_metrics(run / "metrics.jsonl")
    assert train(run, data) == errors.DONE
    assert "metrics.1.jsonl" in capsys.readouterr().out
    assert read_metrics(run / "metrics.1.jsonl") == before
    assert (run / "results.1.json").exists() and (run / "events.1").is_dir()
    assert len(read_metrics(run / "metrics.jsonl")) == len(before)


def test_the_checkpoint_of_another_run_is_refused(run, data, other, capsys):
    for step in stored_steps(run / "checkpoints"):
        shutil.rmtree(run / "checkpoints" / str(step))
        checksums_path(run / "checkpoints", step).unlink()
    shutil.copytree(other / str(STEPS), run / "checkpoints" / str(STEPS))
    assert train(run, data, *LONGER) == errors.USAGE
    message = capsys.readouterr().err
    assert "belongs to another run" in message and "seed: 1 -> 0" in message


def test_a_second_training_is_refused_and_opens_nothing(run, data, capsys):
    before = sorted(run.rglob("*"))
    lock = WorkdirLock(run, lost=print, say=print)
    lock.acquire()
    assert train(run, data, *LONGER) == errors.USAGE
    assert "is in use: another training holds it" in capsys.readouterr().err
    lock.release()
    assert sorted(run.rglob("*")) == before


def test_an_evaluation_that_fails_is_done_again_by_the_same_command(run, data, capsys, monkeypatch):
    def fail(*_):
        raise MemoryError("too large")

    (run / "results.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(suite, "_computed", fail)
        assert train(run, data) == errors.FAILED
    printed = capsys.readouterr()
    assert "knn failed, see above" in printed.err
    assert "knn failed: MemoryError: too large" in printed.out
    assert f"--workdir {run} --evals knn" in printed.err and "Squared error" in printed.out
    assert "reconstruction" in json.loads((run / "results.json").read_text())
    assert train(run, data) == errors.DONE
    results = json.loads((run / "results.json").read_text())
    assert "failed" not in results and "knn/class/top1" in str(results)
