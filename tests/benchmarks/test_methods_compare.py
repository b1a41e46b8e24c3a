"""The comparison of methods: cells that can be built, lengths that are kept, a fresh table."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest

from benchmarks import timed
from benchmarks.methods_compare import report, run
from benchmarks.methods_compare.cells import (
    NONE,
    REPEATED,
    Cell,
    all_cells,
    read_results,
    result_file,
)
from benchmarks.methods_compare.methods import METHODS
from benchmarks.methods_compare.pretraining import IMAGES
from benchmarks.methods_compare.step_time import CONFIG
from maskmim.config import base
from maskmim.config.load import load
from maskmim.data.grocery import grocery
from maskmim.reporting.metrics_file import OURS
from maskmim.training.build import span_of
from tests.running import ROOT


def test_every_method_can_be_trained_for_so_many_steps():
    assert len(grocery(split="train+val")) == IMAGES
    for method in METHODS:
        config = load(f"{CONFIG}:method={method},steps=700")
        assert abs(span_of(config, IMAGES).steps - 700) <= 1, method
        assert config.data.train == base().data.train, method
        assert {"knn", "linear_probe"} <= set(config.evals.at_end), method


def test_encoders_of_vits_are_equal():
    """What is not equal is said in `about`, beside other differences."""
    for name, method in METHODS.items():
        model = load(f"{CONFIG}:method={name}").model
        same = model.variant in ("micro", "6x128x4") and tuple(model.patch) == (8, 8)
        assert same or method.about, name


def test_the_untrained_network_is_that_of_mae():
    config, mae = load(f"{CONFIG}:untrained"), load(f"{CONFIG}:method=mae")
    assert config.model == mae.model and span_of(config, IMAGES).steps == 1
    assert config.optim.lr < np.finfo(np.float32).eps * 1e-3


def test_cells_of_the_first_seed_come_first():
    cells = list(all_cells())
    assert len(cells) == len(set(cells)) == len(METHODS) + 1 + 2 * (1 + len(REPEATED))
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)


def test_a_cell_that_continues_keeps_its_length(monkeypatch, tmp_path):
    cell, codes, asked = Cell("dbot", 0), [75, 0], []
    times = iter(("0.2 0.4", "0.2 0.7"))
    monkeypatch.setattr(run, "result_file", lambda cell: result_file(cell, tmp_path / "results"))

    def measured(command, **_):
        return type("Done", (), {"stdout": f"{next(times)}\n"})

    def trained(command, output):
        asked.append(command[3:])
        folder = Path(command[command.index("--workdir") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        found = {"probes": {"encoders": {OURS: {"metrics": {"knn/fine/top1": 0.25}}}}}
        (folder / "results.json").write_text(json.dumps(found))
        return codes.pop(0)

    monkeypatch.setattr(run.subprocess, "run", measured)
    monkeypatch.setattr(timed, "_run_and_stop_with_it", trained)
    assert run.run_cell(cell, tmp_path) == 75 and not (tmp_path / "results").exists()
    assert run.run_cell(cell, tmp_path) == 0
    assert asked[0] == asked[1] and asked[0][1].endswith(f"method=dbot,steps={run.MAE_STEPS // 2}")
    found = read_results(tmp_path / "results")[cell]
    assert found["length"] == {"cost_of_a_step": 2.0, "steps": run.MAE_STEPS // 2}
    assert found["metrics"] == {"knn/fine/top1": 0.25}


def record(knn, steps=2000):
    length = {"steps": steps} if steps else {}
    return {"metrics": {"knn/fine/top1": knn}, "length": length}


def test_the_table_has_every_method_and_the_spread_of_seeds():
    values = (0.21, 0.22, 0.26)
    results = {Cell("mae", seed): record(value) for seed, value in enumerate(values)}
    results |= {Cell(NONE, 0): record(0.18, 0), Cell("dbot", 0): record(0.2, 1234)}
    lines = report.table(results).splitlines()[2:]
    assert len(lines) == len(METHODS) + 1
    assert [line.split(" | ")[0] for line in lines[:3]] == ["| none", "| mae", "| dbot"]
    mean, deviation = 100 * statistics.fmean(values), 100 * np.std(values, ddof=1)
    assert f"| 3 | 2,000 | {mean:.1f} ± {deviation:.1f} | - |" in lines[1]
    assert "| 1 | 1,234 | 20.0 | - |" in lines[2]
    assert all("| 0 | not run |" in line for line in lines[3:])


@pytest.mark.parametrize("page", ["methods_compare.md", "systems.md"])
def test_the_pages_are_fresh(page):
    assert report.table(read_results()) in (ROOT / "docs" / page).read_text(encoding="utf-8")
