"""What evaluation refuses before it reads any example, and what is left where a part fails."""

import json
from types import SimpleNamespace

import pytest

from maskmim import errors
from maskmim.data.records import DataError
from maskmim.evals import failures, run
from maskmim.evals.evaluation import Evaluation
from maskmim.evals.run import (
    check_classes,
    finish,
    flat_metrics,
    results_table,
    stored_step,
    stored_table,
    write_results,
)


def records(**labels):
    return SimpleNamespace(labels=labels)


def test_equal_classes_are_compared():
    check_classes(records(kind=("a", "b")), records(kind=("a", "b")))
    check_classes(records(), records())


@pytest.mark.parametrize(
    "test",
    [{"kind": ("b", "a")}, {"kind": ("a", "b", "c")}, {}, {"kind": ("a", "b"), "more": ("x",)}],
)
def test_classes_that_mean_something_else_are_refused(test):
    with pytest.raises(DataError, match=r"have other classes for the labels (kind|more)"):
        check_classes(records(kind=("a", "b")), records(**test))


MSE = {f"reconstruction/{name}": 0.5 for name in run.GUESSES}


@pytest.fixture
def evaluation(tmp_path, monkeypatch):
    """Return an evaluation at step 3 whose parts are replaced by tests."""
    source = SimpleNamespace(train=lambda: None, test=lambda: None, measures={})
    parts = SimpleNamespace(evals=source, method=SimpleNamespace(apply={"reconstruct": None}))
    config = SimpleNamespace(train=SimpleNamespace(batch_size=8))
    probes = {
        "encoders": {run.OURS: {"dimensions": 4, "metrics": {"knn/kind/top1": 0.5}}},
        "protocol": {"classes": {"kind": 2}, "test_images": 9, "train_images": 9},
        "skipped": {},
    }
    monkeypatch.setattr(run, "restorable_streams", lambda _: {"image": None})
    monkeypatch.setattr(run, "draw_reconstruction", lambda _: SimpleNamespace(errors=MSE))
    monkeypatch.setattr(run, "draw_sheets", lambda _: {})
    monkeypatch.setattr(run, "compare", lambda *_: {**probes, "failed": {}})
    return Evaluation(config, tmp_path, parts, None, 3, None)


def out_of_memory(*_):
    raise MemoryError("too large a probe")


def unreadable(*_):
    raise DataError("64 images in a row cannot be read")


NAMES = ("reconstruction", "knn", "linear_probe")


def test_what_succeeds_is_written_and_shown(evaluation, tmp_path, capsys):
    results, error = finish(evaluation, NAMES)
    assert error is None and "failed" not in results
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["reconstruction"] == MSE and "failed" not in stored["probes"]
    assert stored_step(tmp_path) == 3 and stored_table(tmp_path) in capsys.readouterr().out
    assert flat_metrics(results) == {**MSE, "knn/kind/top1": 0.5}


@pytest.mark.parametrize(
    ("part", "fault", "failed", "left"),
    [
        ("draw_reconstruction", out_of_memory, ["reconstruction"], "probes"),
        ("draw_sheets", out_of_memory, [failures.PICTURES], "probes"),
        ("compare", out_of_memory, ["knn", "linear_probe"], "reconstruction"),
        ("compare", unreadable, ["knn", "linear_probe"], "reconstruction"),
    ],
)
def test_one_that_fails_loses_no_other(
    evaluation, tmp_path, capsys, monkeypatch, part, fault, failed, left
):
    monkeypatch.setattr(run, part, fault)
    results, error = finish(evaluation, NAMES)
    assert error.exit_code == errors.FAILED and left in results
    stored = json.loads((tmp_path / "results.json").read_text())
    assert list(stored["failed"]) == failed and left in stored
    assert stored_step(tmp_path) is None  # so that the same command evaluates again
    again = f"--evals {','.join(failed)}" if failed != [failures.PICTURES] else f"{tmp_path}"
    assert str(error).endswith(again) and ", ".join(failed) in str(error)
    printed = capsys.readouterr()
    assert f"{failed[0]} failed: " in printed.out
    assert ("Traceback" in printed.err) == (fault is out_of_memory)


def test_one_probe_that_fails_is_named(evaluation, monkeypatch):
    compared = run.compare
    failure = {"failed": {"linear_probe": "MemoryError: large"}}
    monkeypatch.setattr(run, "compare", lambda *given: {**compared(*given), **failure})
    results, error = finish(evaluation, NAMES)
    assert "linear_probe (MemoryError: large) failed" in str(error)
    assert str(error).endswith("--evals linear_probe") and "knn/kind/top1" in flat_metrics(results)


def test_of_several_processes_only_what_all_meet_is_noted(monkeypatch):
    monkeypatch.setattr(failures.processes, "is_distributed", lambda: True)
    failed = {}
    with failures.noted(failed, "knn"):
        unreadable()
    assert list(failed) == ["knn"]
    with pytest.raises(MemoryError), failures.noted(failed, "knn"):
        out_of_memory()


@pytest.mark.parametrize(
    ("number", "code"), [(30, errors.USAGE), (13, errors.USAGE), (28, errors.STORAGE)]
)
def test_results_that_cannot_be_written_are_printed(
    evaluation, tmp_path, capsys, monkeypatch, number, code
):
    def refuse(path, *_):
        raise OSError(number, "refused", str(path))

    monkeypatch.setattr(run.files, "write_atomic", refuse)
    results, error = finish(evaluation, NAMES)
    assert results_table(results) in capsys.readouterr().out
    assert error.exit_code == code and f"{tmp_path / 'results.json'} (refused)" in str(error)
    assert "--out DIR" in str(error)


def test_numbers_that_are_not_finite_are_written_and_shown(evaluation, tmp_path, monkeypatch):
    errors_of_nan = SimpleNamespace(errors=dict.fromkeys(MSE, float("nan")))
    monkeypatch.setattr(run, "draw_reconstruction", lambda _: errors_of_nan)
    assert finish(evaluation, ["reconstruction"]).error is None
    assert stored_table(tmp_path).count("not finite") == len(run.GUESSES)


def test_results_may_go_to_a_new_folder(tmp_path):
    assert write_results(tmp_path / "a" / "b", "x.json", {"step": 1}, []) is None
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {"x.json", "images"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": 1}'])
def test_damaged_results_are_none(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    assert stored_step(tmp_path) is None
