"""Evaluating a run afterwards, beside the training's own evaluation."""

import json

import pytest

from tests.running import as_tests, run

pytestmark = pytest.mark.full

FLAGS = (
    "--config=configs/colormae.py:tiny",
    "--config.evals.train.split=val",
    "--config.evals.test.split=val",
    "--config.evals.probes.linear_probe.epochs=3",
    "--config.evals.probes.linear_probe.warmup_epochs=1",
    "--config.evals.every_epochs=0.1",
)


def test_probes_during_after_and_again(tmp_path):
    workdir = tmp_path / "run"
    at_end = "--config.evals.at_end=knn,linear_probe,reconstruction"
    result = run("train", *FLAGS, at_end, f"--workdir={workdir}", **as_tests())
    assert result.returncode == 0, result.stderr
    assert "knn/coarse/top1" in result.stderr  # the note during training
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
            assert name in result.stdout
    assert set(results["reconstruction"]) >= {"reconstruction/mse", "reconstruction/psnr"}
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert any("knn/fine/top1" in row for row in rows)

    again = run("evaluate", f"--workdir={workdir}", "--evals=knn", **as_tests())
    assert again.returncode == 0, again.stderr
    assert json.loads((workdir / "results.json").read_text()) == results  # nothing is lost
    alone = json.loads((workdir / "results-knn.json").read_text())
    for name, encoder in alone["probes"]["encoders"].items():
        for metric, value in encoder["metrics"].items():
            assert value == encoders[name]["metrics"][metric], (name, metric)
