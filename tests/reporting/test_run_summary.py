"""What a work directory says of its run, whatever state it is in."""

import json
import math
import os
import shutil
import time

import pytest

from maskmim.config import from_json
from maskmim.reporting.metrics_file import flat_metrics
from maskmim.reporting.runs.find import find_runs
from maskmim.reporting.runs.summary import read_run
from maskmim.runtime.workdir_lock import this_process
from maskmim.training.build import span_of
from tests.reporting.runs_on_disk import EXAMPLES, results_at, write_run

TOTAL = 37  # 2 epochs of 296 examples in batches of 16
LOSSES = (1.0, 0.75, 0.5)


def lock(workdir, age=0.0, **changes):
    path = workdir / "training.lock"
    path.write_text(json.dumps(this_process()._replace(**changes)._asdict()))
    os.utime(path, (time.time() - age, time.time() - age))


def finish(workdir, **changes):
    write_run(workdir, losses=LOSSES, every=37 / 3, checkpoint=37)
    rows = [{"step": 37, "loss": 0.5, "lr": 0.1}]
    (workdir / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (workdir / "results.json").write_text(json.dumps(results_at(37, **changes)))


ENDED = {"process": 2**22 - 3, "started": "1"}
STATES = {
    "finished": finish,
    "eval failed": lambda w: finish(w, failed={"knn": "why"}),
    "not evaluated": lambda w: (finish(w), (w / "results.json").unlink()),
    "unfinished": lambda w: write_run(w, losses=LOSSES, checkpoint=20),
    "training": lambda w: (write_run(w), lock(w)),
    "damaged": lambda w: (finish(w), (w / "config.json").write_text("{half")),
}


@pytest.mark.parametrize("state", STATES)
def test_states(state, tmp_path):
    STATES[state](tmp_path)
    assert read_run(tmp_path, "run").state == state


@pytest.mark.parametrize(
    ("changes", "age", "state"),
    [
        (ENDED, 0, "unfinished"),
        ({"machine": "elsewhere"}, 0, "training"),
        ({"machine": "elsewhere"}, 300, "unfinished"),
    ],
)
def test_a_lock_counts_while_its_holder_may_run(changes, age, state, tmp_path):
    write_run(tmp_path)
    lock(tmp_path, age, **changes)
    assert read_run(tmp_path, "run").state == state


def test_steps_and_loss_are_the_last_ones(tmp_path):
    write_run(tmp_path, losses=(1.0, 0.75), checkpoint=25)
    run = read_run(tmp_path, "run")
    config = from_json((tmp_path / "config.json").read_text())
    assert run.total == span_of(config, EXAMPLES).steps == TOTAL
    assert (run.step, run.loss) == (25, 0.75)
    shutil.rmtree(tmp_path / "checkpoints")
    assert read_run(tmp_path, "run").total is None and read_run(tmp_path, "run").step == 20


def test_a_loss_that_was_not_finite_is_nan(tmp_path):
    assert math.isnan(read_run(write_run(tmp_path, losses=(1.0, None)), "run").loss)


@pytest.mark.parametrize(("step", "newest"), [(10, 0.75), (20, 0.5), (30, 0.5)])
def test_the_newest_evaluation_counts(step, newest, tmp_path):
    write_run(tmp_path, during={"knn/fine/top1": 0.75}, results=results_at(step))
    found = read_run(tmp_path, "run").evaluated
    assert found["knn/fine/top1"] == newest
    expected = flat_metrics(results_at(step))
    assert found.keys() == expected.keys() and math.isnan(found["reconstruction/psnr"])


DAMAGE = {
    "config.json": (lambda path: path.write_text("{half"), "config.json is damaged"),
    "results.json": (lambda path: path.write_text("[1]"), "results.json is damaged"),
    "metrics.jsonl": (lambda path: (path.unlink(), path.mkdir()), "metrics.jsonl cannot be read"),
    "checkpoints": (lambda path: path.write_text(""), "checkpoints cannot be read"),
}


@pytest.mark.parametrize("file", DAMAGE)
def test_damage_is_a_sentence_and_leaves_the_rest(file, tmp_path):
    write_run(tmp_path, results=results_at(20))
    damage, words = DAMAGE[file]
    damage(tmp_path / file)
    run = read_run(tmp_path, "run")
    assert len(run.problems) == 1 and run.problems[0].startswith(words)
    assert run.step == 20
    (tmp_path / "config.json").unlink()
    assert "config.json is missing" in read_run(tmp_path, "run").problems or file != "config.json"


def test_lines_and_checkpoints_that_are_half_written_are_left_out(tmp_path):
    write_run(tmp_path, checkpoint=15)
    (tmp_path / "checkpoints" / "30" / "data").mkdir(parents=True)
    (tmp_path / "checkpoints" / "40.orbax-checkpoint-tmp").mkdir()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "lo')
    run = read_run(tmp_path, "run")
    assert (run.step, run.total, run.problems) == (20, TOTAL, [])


def test_runs_are_found_below_folders_once_and_named_by_their_place(tmp_path):
    for name in ("a", "sweep/b", "sweep/c"):
        write_run(tmp_path / name)
    write_run(tmp_path / "a" / "checkpoints" / "no-run")
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "config.json").write_text("{}")
    (tmp_path / "sweep" / "up").symlink_to(tmp_path)
    assert [run.name for run in find_runs([str(tmp_path)])] == ["a", "sweep/b", "sweep/c"]
    sweep = str(tmp_path / "sweep" / "b"), str(tmp_path / "sweep" / "c")
    assert [run.name for run in find_runs([*sweep, sweep[0]])] == ["b", "c"]
    assert [run.name for run in find_runs([str(tmp_path / "a")])] == ["a"]


def test_reading_changes_nothing(tmp_path):
    finish(tmp_path / "run")
    lock(tmp_path / "run", 300, **ENDED)

    def snapshot():
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    before = snapshot()
    find_runs([str(tmp_path)])
    assert snapshot() == before
