"""A table with gaps, completed by a trained run."""

import numpy as np
import pytest

from maskmim import train
from maskmim.inference import InferenceError
from maskmim.inference.completing import complete_table

pytestmark = pytest.mark.full


def test_observed_cells_stay_and_missing_ones_are_filled_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    cells = rng.uniform(-5, 50, (70, 3))
    cells[:, 1] = 2 * cells[:, 0] + 1
    cells = np.round(cells, 3)
    gaps = rng.random(cells.shape) < 0.2
    gaps[gaps.all(axis=1)] = False
    lines = [
        ",".join("" if gap else f"{value:.3f}" for value, gap in zip(row, absent, strict=True))
        for row, absent in zip(cells, gaps, strict=True)
    ]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,c", *lines]) + "\n")
    config = f"remasker:path={tmp_path / 'table.csv'},epochs=1"
    flags = ["--config.train.batch_size=16", "--config.evals.at_end=", "--config.evals.monitors="]
    assert train.main(["--config", config, "--workdir", "run", *flags]) == 0
    columns, completed = complete_table("run")
    assert columns == ("a", "b", "c") and completed.shape == cells.shape
    np.testing.assert_array_equal(completed[~gaps], cells[~gaps])
    assert np.isfinite(completed).all()
    for column in range(3):  # heads answer within the observed range
        seen = cells[~gaps[:, column], column]
        filled = completed[gaps[:, column], column]
        assert filled.min() >= seen.min() - 1e-3 and filled.max() <= seen.max() + 1e-3
    assert len(np.unique(completed[gaps])) == gaps.sum()


def test_a_run_without_a_table_is_refused(workdir):
    with pytest.raises(InferenceError, match="completes no table: give a run of configs/remasker"):
        complete_table(workdir)
