"""What evaluation refuses before it reads any example, and what is left where a part fails."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from maskmim import errors
from maskmim.data.records import DataError
from maskmim.evals import failures, results_file, run
from maskmim.evals.evaluation import Evaluation
from maskmim.evals.features import Split
from maskmim.evals.measures import Measured
from maskmim.evals.results_file import write_results
from maskmim.evals.results_table import GUESSES, results_table
from maskmim.evals.run import (
    check_classes,
    finish,
    stored_step,
    stored_table,
)
from maskmim.reporting.metrics_file import flat_metrics
from tests.evals.small import source_of, trained_on
from tests.evals.test_lidar import OneBad
from tests.evals.test_trained import colours, evaluation_of
from tests.tiny import pictures

UNTRAINED = ["raw pixels", run.UNTRAINED]


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


MSE = {f"reconstruction/{name}": 0.5 for name in GUESSES}


@pytest.fixture
def evaluation(tmp_path, monkeypatch):
    """Return an evaluation at step 3 whose parts are replaced by tests."""
    (tmp_path / "config.json").touch()
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
    printed = capsys.readouterr().out
    assert stored_step(tmp_path) == 3 and stored_table(tmp_path) in printed
    assert printed.endswith(f"\nresults.json is in {tmp_path}\n")  # no picture was drawn
    assert flat_metrics(results) == {**MSE, "knn/kind/top1": 0.5}
    assert "\n\n\n" not in results_table(results | {"unreadable": ["1 image is torn"]})


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


def test_what_is_skipped_is_told_with_its_reason(evaluation, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "restorable_streams", lambda _: {})
    evaluation.parts.method.apply["mask"] = None
    evaluation.parts.evals.test = None
    results, error = finish(evaluation, NAMES)
    assert error is None and list(results["skipped"]) == list(NAMES)
    told = capsys.readouterr().out
    assert "reconstruction skipped: this method predicts nothing that becomes pixels" in told
    assert "knn, linear_probe skipped: evals.train and evals.test name no labelled images" in told
    earlier = {"step": 3, "images_seen": 24, "skipped": "knn skipped: no images"}
    assert "knn skipped: no images" in results_table(earlier)


@pytest.mark.parametrize("named", ["folder", "file"])
def test_what_was_asked_for_by_flags_is_repeated_with_them(
    evaluation, tmp_path, monkeypatch, named
):
    monkeypatch.setattr(run, "compare", out_of_memory)
    if named == "folder":
        (tmp_path / "config.json").unlink()
    file = "results.json" if named == "folder" else "results-knn.json"
    error = finish(evaluation, ["knn"], file=file).error
    assert str(error).endswith("Only what failed again: the same command with --evals knn")


def bad(trained):
    yield "bad", None


def test_of_measures_only_the_guilty_ones_are_named(evaluation, capsys, monkeypatch):
    def counted(trained):
        yield "first", trained.start["first"]

    measures = {"bad": bad, "counted": counted}
    parts = evaluation.parts
    parts.evals.measures, parts.evals.probes, parts.method.sheets = measures, {}, {}
    monkeypatch.setattr(run, "unmet", lambda *_: {})
    monkeypatch.setattr(run, "trained_of", lambda _, *, start, **__: trained_on(start=start))
    rows = [{"step": 1, "first": 7.0}, {"step": 3, "first": 5.0, "new": 2.0}]
    results, error = finish(evaluation, list(measures), rows=rows)
    assert results["measures"]["metrics"] == {"first": 7.0} and list(results["failed"]) == ["bad"]
    told = capsys.readouterr().out
    assert told.count("evals.measures.bad yields 'bad' with the value None") == 1
    assert str(error).startswith("bad failed, see above; results are in ")
    assert str(error).endswith("--evals bad") and "counted" not in str(error)
    assert finish(evaluation, list(measures), rows=rows, asked=["counted"]).error is None
    # The values of this very step are no start, and what the training logs is no measure's name.
    assert "counted" in finish(evaluation, ["counted"], rows=rows[1:]).results["failed"]
    training = [*rows, {"step": 2, "lr": 0.1, "first": 3.0}]
    (why,) = finish(evaluation, ["counted"], rows=training).results["failed"].values()
    assert "'first', a name that the training has" in why


def test_what_probes_and_measures_cannot_read_is_told():
    sound = source_of(pictures(11), size=4)
    torn = OneBad(sound.records)

    def narrow(features):
        yield "images", len(features.test.features)

    def reading(trained):
        yield "read", sum(batch["valid"].sum() for batch in trained.test.batches(11))
        yield "untrained", -1 if trained.untrained is None else len(trained.untrained)

    evaluation = evaluation_of(sound._replace(open=lambda: torn), colours)
    evals = evaluation.parts.evals
    evals.train, evals.probes, evals.measures = sound.open, {"p": narrow}, {"m": reading}
    evaluation.parts.method.sheets = {}
    for names in (["p"], ["m"]):
        found = run.evaluate_during_training(evaluation, names, {})
        assert found.failed == {} and 10 in found.metrics.values()
        (told,) = found.warnings
        assert told.startswith("1 image of evals.test cannot be read")
    rows = Split(np.zeros((9, 2), np.float32), {})
    seen = run.Seen({run.OURS: (rows, rows), run.UNTRAINED: (rows, rows)}, {})
    assert run.measure(evaluation, ["m"], seen=seen, start={}).metrics["untrained"] == 9


def test_a_kill_leaves_what_was_finished(evaluation, tmp_path, monkeypatch):
    def killed(_):
        raise KeyboardInterrupt

    def counted(_):
        yield "counted", 3.0

    measures = {"counted": counted, "long": killed}
    evaluation.parts.evals.measures = measures
    monkeypatch.setattr(run, "trained_of", lambda *_, **__: SimpleNamespace(_replace=dict))
    monkeypatch.setattr(run, "unmet", lambda *_: {})
    evaluation.parts.evals.probes, evaluation.parts.method.sheets = {}, {}
    with pytest.raises(KeyboardInterrupt):
        finish(evaluation, ["reconstruction", *measures])
    assert not (tmp_path / "results.json").exists()
    left = json.loads((tmp_path / "unfinished-results.json").read_text())
    assert flat_metrics(left) == {**MSE, "counted": 3.0}
    measures.pop("long")
    finish(evaluation, ["reconstruction", *measures])
    assert (tmp_path / "results.json").exists() and not list(tmp_path.glob("unfinished*"))


@pytest.mark.parametrize(("beside", "names"), [(False, [run.OURS]), (True, [*UNTRAINED, run.OURS])])
def test_baselines_can_be_left_out(beside, names, monkeypatch):
    asked = {}
    monkeypatch.setattr(
        run, "probe", lambda *given, stored: asked.update(stored=stored) or given[1]
    )
    config = SimpleNamespace(evals=SimpleNamespace(baselines=beside))
    spec = SimpleNamespace(stream="image")
    parts = SimpleNamespace(spec=spec, modalities={"image": None})
    monkeypatch.setattr(
        run.baselines, "untrained_encoders", lambda spec, kind: dict.fromkeys(UNTRAINED[:-1])
    )
    evaluation = SimpleNamespace(config=config, parts=parts, encoder=None, untrained_encoder=None)
    assert list(run.compare(evaluation, ["knn"], run.Seen.nothing())) == names
    assert [*asked["stored"], run.OURS] == names


def test_one_probe_that_fails_is_named(evaluation, capsys, monkeypatch):
    compared = run.compare
    failure = {"failed": {"linear_probe": "MemoryError: large"}}
    monkeypatch.setattr(run, "compare", lambda *given: {**compared(*given), **failure})
    results, error = finish(evaluation, NAMES)
    assert str(error).startswith("linear_probe failed, see above") and "large" not in str(error)
    assert "linear_probe failed: MemoryError: large" in capsys.readouterr().out
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

    monkeypatch.setattr(results_file.files, "write_atomic", refuse)
    results, error = finish(evaluation, NAMES)
    assert results_table(results) in capsys.readouterr().out
    assert error.exit_code == code and f"{tmp_path / 'results.json'} (refused)" in str(error)
    assert "--out DIR" in str(error)


def test_numbers_are_not_lost_for_results_without_any(evaluation, tmp_path, capsys, monkeypatch):
    finish(evaluation, NAMES, file="results-a.json")
    before = (tmp_path / "results-a.json").read_text()
    monkeypatch.setattr(run, "compare", unreadable)
    assert finish(evaluation, ["knn"], file="results-a.json").error.exit_code == errors.FAILED
    assert (tmp_path / "results-a.json").read_text() == before
    told = f"{tmp_path / 'results-a.json'} keeps its numbers of an earlier evaluation"
    assert told in capsys.readouterr().out
    finish(evaluation, ["reconstruction", "knn"], file="results-a.json")  # has some
    assert json.loads((tmp_path / "results-a.json").read_text())["failed"]
    assert finish(evaluation, ["knn"], file="results-b.json").error  # there were none
    assert json.loads((tmp_path / "results-b.json").read_text())["failed"]


def test_numbers_that_are_not_finite_are_written_and_shown(evaluation, tmp_path, monkeypatch):
    errors_of_nan = SimpleNamespace(errors=dict.fromkeys(MSE, float("nan")))
    monkeypatch.setattr(run, "draw_reconstruction", lambda _: errors_of_nan)
    assert finish(evaluation, ["reconstruction"]).error is None
    assert stored_table(tmp_path).count("not finite") == len(GUESSES)


def test_results_of_a_named_file_have_pictures_of_their_own(
    evaluation, tmp_path, capsys, monkeypatch
):
    def drawn(trained):
        yield Measured("drawn", 1.0, picture=np.zeros((2, 2, 3), np.uint8))

    parts = evaluation.parts
    parts.evals.measures, parts.evals.probes, parts.method.sheets = {"drawn": drawn}, {}, {}
    monkeypatch.setattr(run, "unmet", lambda *_: {})
    monkeypatch.setattr(run, "trained_of", lambda _, *, start, **__: trained_on(start=start))
    named = evaluation._replace(pictures="images-a")
    finish(named, ["drawn"], file="a.json", rows=[{"step": 1, "loss": 2.0, "lr": 0.1}])
    assert {path.name for path in (tmp_path / "images-a").iterdir()} == {"drawn-3.png", "loss.png"}
    assert f"a.json and images-a/ are in {tmp_path}" in capsys.readouterr().out
    assert not (tmp_path / "images").exists()


def test_results_may_go_to_a_new_folder(tmp_path):
    rows = [{"step": 1, "loss": 2.0, "lr": 0.1}]
    assert write_results(tmp_path / "a" / "b", "x.json", {"step": 1}, rows) is None
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {"x.json", "images"}
    assert write_results(tmp_path / "c", "x.json", {"step": 0}, []) is None
    assert {path.name for path in (tmp_path / "c").iterdir()} == {"x.json"}  # nothing was logged


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images": 1}'])
def test_damaged_results_are_none(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    assert stored_step(tmp_path) is None
