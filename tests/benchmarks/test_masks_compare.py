"""The comparison of masks: equal cells, paired differences, resumed cells, a page that is fresh."""

import functools
import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

from benchmarks import timed
from benchmarks.masks_compare import report, run
from benchmarks.masks_compare.cells import (
    CONFIG,
    NONE,
    Cell,
    all_cells,
    commands,
    protocol,
    read_results,
    result_file,
)
from benchmarks.masks_compare.pretraining import DATA, SAMPLERS
from maskmim.config import bind
from maskmim.config.load import load
from maskmim.errors import UserError
from maskmim.reporting.metrics_file import OURS
from maskmim.types import Randomness
from tests.masks.sampling import context_of


def config_of(data, sampler):
    return load(f"{CONFIG}:data={data},path=/data,mask={sampler}")


@pytest.mark.parametrize("data", DATA)
def test_cells_differ_in_the_sampler_alone(data):
    configs = [config_of(data, sampler).to_dict() for sampler in SAMPLERS]
    masks = [json.dumps(config.pop("mask"), sort_keys=True, default=str) for config in configs]
    assert len(set(masks)) == len(SAMPLERS)
    assert all(config == configs[0] for config in configs)


@pytest.mark.parametrize("data", DATA)
def test_every_sampler_hides_48_of_64_tokens(data):
    for sampler in SAMPLERS:
        config = config_of(data, sampler)
        grid = tuple(
            side // patch for side, patch in zip(config.input.size, config.model.patch, strict=True)
        )
        sampler_of_context = functools.partial(bind(config.mask), context=context_of(grid))
        shapes = jax.eval_shape(sampler_of_context, Randomness.of(jax.random.key(0), 2))
        assert (shapes.visible.shape, shapes.predict.shape) == ((2, 16), (2, 48)), sampler


def test_a_cell_continues_where_it_was(monkeypatch, tmp_path):
    cell = Cell("cifar10", "green", 1)
    monkeypatch.setattr(run, "result_file", lambda cell: result_file(cell, tmp_path / "results"))
    codes, asked = [0, 75], []

    def stopped(command, output):
        asked.append(command[3:])
        workdir = command[command.index("--workdir") + 1]
        code = codes.pop(0)
        if code == 0:
            write_results(workdir)
        return code

    monkeypatch.setattr(timed, "_run_and_stop_with_it", stopped)
    assert run.run_cell(cell, tmp_path, tmp_path / "runs") == 75
    assert not (tmp_path / "results").exists()
    codes += [0, 0]
    assert run.run_cell(cell, tmp_path, tmp_path / "runs") == 0
    assert asked[0] == asked[2] and asked[1] == asked[3]
    found = read_results(tmp_path / "results")[cell]
    assert found["pretraining"] == {"knn/class/top1": 0.5}
    assert set(found["cpu_seconds"]) == {"pretraining", "fine_tuning"}


def write_results(workdir):
    metrics = {OURS: {"metrics": {"knn/class/top1": 0.5}}}
    Path(workdir).mkdir(parents=True, exist_ok=True)
    content = json.dumps({"probes": {"encoders": metrics}})
    (Path(workdir) / "results.json").write_text(content)


def test_training_from_scratch_takes_no_weights_and_evaluates_the_first(tmp_path):
    config = load(f"{CONFIG}:path=/data,untrained")
    assert config.train.epochs * 50_000 < config.train.batch_size
    assert config.optim.lr < np.finfo(np.float32).eps * 1e-3
    made = commands(Cell("cifar10", NONE, 2), tmp_path, tmp_path)
    assert ",from_scratch" in made["fine_tuning"][1] and "--config.seed=2" in made["fine_tuning"]
    assert (
        ",from_scratch"
        not in commands(Cell("cifar10", "red", 2), tmp_path, tmp_path)["fine_tuning"][1]
    )


def test_cells_are_ordered_by_seed():
    cells = list(all_cells())
    assert len(cells) == len(set(cells)) == 3 * 2 * (len(SAMPLERS) + 1)
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)


def record(knn):
    return {"pretraining": {"knn/class/top1": knn}, "fine_tuning": {}}


def test_differences_are_paired_by_seed():
    green, random = (0.31, 0.35, 0.36), (0.30, 0.33, 0.37)
    results = {Cell("cifar10", "green", seed): record(value) for seed, value in enumerate(green)}
    results |= {Cell("cifar10", "random", seed): record(value) for seed, value in enumerate(random)}
    results[Cell("cifar10", NONE, 0)] = record(0.2)
    results[Cell("tiny_imagenet", "green", 0)] = record(0.9)
    values = report.by_sampler(results, "cifar10", report.METRICS[0])
    differences = 100 * (np.array(green) - random)
    np.testing.assert_allclose(report.paired(values, "green"), differences)
    mean, error = report.mean_and_error(list(differences))
    np.testing.assert_allclose([mean, error], [differences.mean(), stats.sem(differences)])
    text = report.table(results, "cifar10")
    deviation = np.std(100 * np.array(green), ddof=1)
    assert f"| {34.0:.1f} ± {deviation:.1f} ({mean:+.1f} ± {error:.1f}) |" in text
    assert "| none | 1 | 20.0 (-10.0) |" in text


def test_one_seed_has_no_spread():
    assert math.isnan(report.mean_and_error([1.0])[1])
    results = {Cell("cifar10", "red", 0): record(0.5)}
    assert "| red | 1 | 50.0 | - |" in report.table(results, "cifar10")


def test_the_page_has_the_tables_of_the_stored_results():
    page, results = report.PAGE.read_text(encoding="utf-8"), read_results()
    for data in DATA:
        if any(cell.data == data for cell in results):
            assert report.table(results, data) in page
            assert report.PLOT.format(data) in page


def test_results_of_another_protocol_are_refused(tmp_path):
    cell = Cell("cifar10", "red", 0)
    file = result_file(cell, tmp_path)
    file.parent.mkdir(parents=True)
    for data, digest in (("cifar10", protocol("cifar10")), ("tiny", protocol("tiny_imagenet"))):
        file.write_text(json.dumps({"protocol": digest}))
        if data == cell.data:
            assert list(read_results(tmp_path)) == [cell]
        else:
            with pytest.raises(UserError, match="another protocol"):
                read_results(tmp_path)
