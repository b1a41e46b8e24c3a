"""Checkpoints of every version so far load, give the same outputs, and continue to train."""

import json
import shutil

import jax
import numpy as np
import pytest

from maskmim import __version__, errors
from maskmim.checkpoints.load_run import load_trained
from maskmim.checkpoints.reader import attach_shardings, restore_newest, stored_steps
from maskmim.checkpoints.workdir import load_config
from maskmim.reporting.metrics_log import read_metrics
from maskmim.runtime import exits
from maskmim.train import main
from maskmim.training.build import assemble
from tests.golden.checkpoints.record import HERE, features, flags_of, sums

VERSIONS = sorted(path.name for path in HERE.glob("v*"))


# Of each version MAE is read in the default tier, the rest in the full one.
RUNS = [pytest.param(name, marks=pytest.mark.full if "-" in name else ()) for name in VERSIONS]


@pytest.fixture(params=RUNS)
def golden(request, tmp_path):
    """Return a copy of a version's work directory, and its recorded values."""
    workdir = shutil.copytree(HERE / request.param, tmp_path / request.param)
    return workdir, json.loads((workdir / "recorded.json").read_text())


def test_this_version_has_one_and_all_are_small():
    """From 0.2.0 on, the checksums hold copies of the small files of a checkpoint."""
    assert f"v{__version__}" in VERSIONS
    for version in VERSIONS:
        files = [path for path in (HERE / version).rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) < 700_000


def test_its_weights_load_and_give_the_recorded_outputs(golden):
    workdir, recorded = golden
    run = load_trained(workdir)
    assert run.step == recorded["step"]
    loaded = sums({"params": run.variables.params, "extra": run.variables.extra})
    assert loaded.items() <= recorded["sums"].items() and loaded
    np.testing.assert_allclose(features(workdir), recorded["features"], rtol=0, atol=2e-5)


def test_its_training_goes_on(golden):
    workdir, recorded = golden
    config = load_config(workdir)
    parts = assemble(config, recorded["examples"])
    like = attach_shardings(parts.shapes, parts.shardings)._asdict()
    assert sums(restore_newest(workdir, like).state) == recorded["sums"]
    epochs = config.train.epochs + 0.1
    more = f"--config.train.epochs={epochs}", "--config.evals.test.split=val"
    assert exits.run(main, [*flags_of(workdir.name), *more, f"--workdir={workdir}"]) == errors.DONE
    last = stored_steps(workdir / "checkpoints")[-1]
    assert last > recorded["step"]
    assert not (workdir / "checkpoints-damaged").exists()
    rows = read_metrics(workdir / "metrics.jsonl")
    assert rows[0]["step"] == recorded["step"] + 1 and np.isfinite(rows[0]["loss"])
    state = restore_newest(workdir, like).state
    assert int(state["step"]) == last and all(map(np.all, map(np.isfinite, jax.tree.leaves(state))))
