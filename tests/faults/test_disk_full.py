"""A full disk: training goes on, the failure is counted and logged, older checkpoints stay."""

import contextlib
import logging
import os
import re
import resource
import shutil
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from maskmim import errors
from maskmim.checkpoints.reader import restore_newest, stored_steps
from maskmim.checkpoints.writer import Checkpoints, NotSaved, drop_closed_loops
from tests.faults.saver import like, state_at
from tests.running import run

pytestmark = pytest.mark.full

MEGABYTES = 2


@contextlib.contextmanager
def files_no_larger_than(size):
    """Make writes beyond `size` bytes of a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save(checkpoints, step):
    checkpoints.save(step, state_at(step, MEGABYTES), {"step": step}, "{}")
    checkpoints.wait()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_failed_saves_are_counted_and_the_next_one_is_tried(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, keep_latest=2)
    save(checkpoints, 1)
    caplog.clear()
    with files_no_larger_than(100_000):
        save(checkpoints, 2)
        save(checkpoints, 3)
    warnings = [record.getMessage() for record in caplog.records if record.name == "maskmim"]
    assert len(warnings) == checkpoints.failures == 2
    assert "checkpoint 3 could not be saved" in warnings[1] and "\n" not in warnings[1]
    assert "the newest is 1; failed saves so far: 2" in warnings[1]
    assert names(checkpoints.folder) == ["1", "checksums"]  # no halves that take room
    save(checkpoints, 4)
    checkpoints.close()
    assert stored_steps(checkpoints.folder) == [1, 4] and checkpoints.failures == 2
    restored = Checkpoints(tmp_path).restore(like(MEGABYTES))
    assert restored.step == 4
    for array in jax.tree.leaves(restored.state):
        np.testing.assert_array_equal(array, 4)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_last_save_that_fails_is_an_error_with_its_own_code(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    with files_no_larger_than(100_000):
        checkpoints.save(2, state_at(2, MEGABYTES), {}, "{}")
        with pytest.raises(NotSaved, match=r"step 2 could not be saved.*the newest is 1") as error:
            checkpoints.close()
    assert "\n" not in str(error.value) and error.value.exit_code == errors.STORAGE == 74


def test_a_place_that_is_no_folder_fails_at_the_save_itself(tmp_path, caplog):
    """The same holds for errors in the part of a save that training waits for."""
    checkpoints = Checkpoints(tmp_path)
    shutil.rmtree(checkpoints.folder)
    checkpoints.folder.write_text("in the way")
    with caplog.at_level(logging.WARNING, "maskmim"):
        save(checkpoints, 1)
    assert checkpoints.failures == 1 and "nothing is saved" in caplog.text
    with pytest.raises(NotSaved, match="step 1 could not be saved"):
        checkpoints.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_sums_that_do_not_fit_lose_no_checkpoint(tmp_path, caplog, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    checkpoints = Checkpoints(tmp_path)
    monkeypatch.setattr("maskmim.checkpoints.checksums.write", full)
    save(checkpoints, 1)
    checkpoints.close()
    assert "checkpoint 1 is saved, but its checksums are not" in caplog.text
    assert checkpoints.failures == 0 and stored_steps(checkpoints.folder) == [1]


def test_threads_that_outlive_their_save_print_nothing(monkeypatch):
    """Other errors of threads are told as before."""
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    drop_closed_loops()
    drop_closed_loops()
    for error, place in (("Event loop is closed", None), ("Event loop is closed", 1), ("", None)):
        sys.unraisablehook(SimpleNamespace(exc_value=RuntimeError(error), object=place))
    assert [(str(each.exc_value), each.object) for each in told] == [
        ("Event loop is closed", 1),
        ("", None),
    ]


@pytest.fixture
def small_disk(tmp_path):
    """Yield a file system of a few megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=2200k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_training_on_a_full_disk_goes_on_and_says_so_at_its_end(small_disk):
    """Every checkpoint is kept, until no more fit."""
    workdir = small_disk / "run"
    result = run(
        "train",
        "--config=configs/mae.py:tiny",
        "--config.train.epochs=0.5",
        "--config.checkpoint.every_epochs=0.05",
        "--config.checkpoint.keep_every_epochs=0.05",
        "--config.evals.at_end=()",
        "--config.log.pictures_every_epochs=0",
        "--config.process.compile_cache=",
        f"--workdir={workdir}",
    )
    assert result.returncode == errors.STORAGE, result.stderr
    failed = list(map(int, re.findall(r"checkpoint (\d+) could not be saved", result.stderr)))
    kept = stored_steps(workdir / "checkpoints")
    assert kept == list(range(1, kept[-1] + 1)) and failed == list(range(kept[-1] + 1, 10))
    messages = [line for line in result.stderr.splitlines() if line.startswith("maskmim: error: ")]
    assert len(messages) == 1 and "step 9 could not be saved" in messages[0]
    assert "Traceback" not in result.stderr
    restored = restore_newest(workdir, {"step": jax.ShapeDtypeStruct((), np.int32)})
    assert restored.step == int(restored.state["step"]) == kept[-1]
