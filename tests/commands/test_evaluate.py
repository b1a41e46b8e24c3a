"""Evaluating a run afterwards, beside the training's own evaluation."""

import json

import pytest

from maskmim import errors, evaluate, train
from maskmim.runtime import exits
from tests.running import SMALL

pytestmark = pytest.mark.full

FLAGS = (
    "--config=configs/colormae.py:tiny",
    *SMALL,
    "--config.evals.train.split=val",
    "--config.evals.test.split=val",
    "--config.evals.probes.linear_probe.epochs=3",
    "--config.evals.probes.linear_probe.warmup_epochs=1",
    "--config.evals.every_epochs=0.1",
)


def test_probes_during_after_and_again(tmp_path, capsys):
    workdir = tmp_path / "run"
    at_end = "--config.evals.at_end=knn,linear_probe,reconstruction"
    code = exits.run(train.main, [*FLAGS, at_end, f"--workdir={workdir}"])
    printed = capsys.readouterr()
    assert code == errors.DONE, printed.err
    assert "knn/coarse/top1" in printed.err  # the note during training
    results = json.loads((workdir / "results.json").read_text())
    encoders = results["probes"]["encoders"]
    assert list(encoders) == ["raw pixels", "colour histogram", "random init", "this encoder"]
    for name in encoders:
        for metric in (
            "knn/coarse/top1",
            "knn/fine/top1",
            "linear/coarse/top1",
            "linear/fine/top1",
        ):
            assert 0 <= encoders[name]["metrics"][metric] <= 1
            assert name in printed.out
    assert set(results["reconstruction"]) >= {"reconstruction/mse", "reconstruction/psnr"}
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert any("knn/fine/top1" in row for row in rows)
    check_monitors(printed, results, rows)

    code = exits.run(evaluate.main, [f"--workdir={workdir}", "--evals=knn"])
    assert code == errors.DONE, capsys.readouterr().err
    assert json.loads((workdir / "results.json").read_text()) == results  # nothing is lost
    alone = json.loads((workdir / "results-knn.json").read_text())
    assert "measures" not in alone
    for name, encoder in alone["probes"]["encoders"].items():
        for metric, value in encoder["metrics"].items():
            assert value == encoders[name]["metrics"][metric], (name, metric)


def check_monitors(printed, results, rows):
    """Monitors are in the notes, in the rows from step 0 on, in the table and in the results."""
    steps = [row["step"] for row in rows if "held_out/loss" in row]
    assert steps[0] == 0 and len(steps) > 2 and steps[-1] == results["step"]
    first, *_, last = (row for row in rows if "held_out/loss" in row)
    assert first["held_out/loss"] != last["held_out/loss"] and first["effective_rank"] > 1
    found = results["measures"]
    assert found["metrics"] == {name: last[name] for name in found["metrics"]}
    assert found["skipped"] == {} and found["warnings"] == []
    for text in ("rank ", "std ", "held-out loss "):
        assert text in printed.out and f"step 0: {found['texts'][0][:4]}" in printed.err
        assert any(text in line and "knn/" in line for line in printed.err.splitlines())


CURVE = (
    "--config=configs/mae.py:tiny",
    *SMALL,
    "--config.evals.test.split=val",
    "--config.evals.during=",
    "--config.evals.at_end=",
    "--config.evals.every_epochs=0.1",
    "--config.evals.measures.effective_rank.least=1.0",
)


def test_the_held_out_curve_is_the_same_to_the_bit_and_stored_runs_are_measured(tmp_path, capsys):
    curves = []
    for name, flags in {"a": [], "b": ["--config.evals.batch_size=64"]}.items():
        workdir = tmp_path / name
        code = exits.run(train.main, [*CURVE, *flags, f"--workdir={workdir}"])
        printed = capsys.readouterr()
        assert code == errors.DONE, printed.err
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        rows = [row for row in map(json.loads, lines) if "held_out/loss" in row]
        curves.append([(row["step"], row["held_out/loss"]) for row in rows])
    assert curves[0] == curves[1] and len({loss for _, loss in curves[0]}) > 2
    assert "warning: the features may have collapsed: their effective rank is " in printed.err
    results = json.loads((workdir / "results.json").read_text())
    assert "collapsed" in results["measures"]["warnings"][0] and "warning:" in printed.out

    stored = json.loads((workdir / "config.json").read_text())
    del stored["evals"]["measures"], stored["evals"]["monitors"]
    (workdir / "config.json").write_text(json.dumps(stored))
    code = exits.run(evaluate.main, [f"--workdir={workdir}"])
    assert code == errors.DONE, capsys.readouterr().err
    measured = json.loads((workdir / "results.json").read_text())["measures"]
    assert measured["metrics"] == results["measures"]["metrics"] and not measured["warnings"]
