"""Steps that are not finite, in the real train loop: NaN in the data, and nothing else odd."""

import json

import jax
import numpy as np
import pytest

from maskmim import errors, train
from maskmim.checkpoints.reader import restore_newest
from maskmim.checkpoints.workdir import load_config
from maskmim.reporting.metrics_log import read_metrics
from maskmim.runtime import exits
from tests.running import ROOT

pytestmark = pytest.mark.full

EVERY_STEP = "--config.checkpoint.every_epochs=0.25"
CONFIG = f"--config={ROOT}/tests/faults/odd_config.py"


def trained(workdir, *flags):
    return exits.run(train.main, [CONFIG, f"--workdir={workdir}", *flags])


def whole_state(workdir):
    """Return {path: bytes} of the newest checkpoint, and its step."""
    from maskmim.checkpoints.reader import attach_shardings
    from maskmim.training.build import assemble

    parts = assemble(load_config(workdir), 64)
    restored = restore_newest(workdir, attach_shardings(parts.shapes, parts.shardings)._asdict())
    leaves = jax.tree_util.tree_leaves_with_path(restored.state)
    return {jax.tree_util.keystr(p): np.asarray(x).tobytes() for p, x in leaves}, restored.step


@pytest.fixture(scope="module")
def order():
    """Return the records of each step of an epoch of four, as the loop's pipeline orders them."""
    from maskmim.config.load import load
    from maskmim.train_loop import open_batches
    from maskmim.training.build import assemble
    from tests.faults.odd_data import Numbers

    config = load(f"{ROOT}/tests/faults/odd_config.py")
    batches = open_batches(config, assemble(config, 64), Numbers(), 0)
    return [next(batches)["record"].tolist() for _ in range(4)]


def test_a_bad_step_is_skipped_to_the_last_bit_and_its_records_are_listed(tmp_path, order, capfd):
    """Every step is saved: what step 3 left is what step 2 left, but for the two counters."""
    workdir, bad = tmp_path / "run", order[2][5]
    flags = ("--config.train.epochs=1.0", "--config.checkpoint.keep_latest=9", EVERY_STEP)
    assert trained(workdir, *flags, f"--config.data.train.poisoned=({bad},)") == errors.DONE
    assert "step 3: loss or gradient not finite, update skipped" in capfd.readouterr().err

    lines = [json.loads(line) for line in (workdir / "bad_steps.jsonl").read_text().splitlines()]
    assert [(line["step"], line["records"]) for line in lines] == [(3, order[2])]
    assert lines[0]["names"][5] == f"picture {bad}"
    told = {row["step"]: row for row in read_metrics(workdir / "metrics.jsonl")}
    assert [told[step]["bad_steps"] for step in (1, 2, 3, 4)] == [0, 0, 1, 0]
    assert told[3]["loss"] is None

    states = {}
    for step in (4, 3, 2):
        states[step], found = whole_state(workdir)
        assert found == step
        (workdir / "checkpoints" / str(step)).rename(tmp_path / f"away{step}")
    skipped = {path for path, value in states[3].items() if states[2][path] != value}
    assert {path.strip(".[']") for path in skipped} == {"step", "bad_steps"}
    assert sum(states[4][path] != value for path, value in states[3].items()) > 10


def test_too_many_bad_steps_end_the_run_with_its_parameters_from_before(tmp_path, order, capfd):
    workdir = tmp_path / "run"
    poisoned = (order[1][0], order[2][0], order[3][0])
    flags = ("--config.train.epochs=2.0", "--config.checkpoint.keep_latest=9", EVERY_STEP)
    code = trained(workdir, *flags, f"--config.data.train.poisoned={poisoned}")
    assert code == errors.DIVERGED
    assert "3 steps in a row, up to step 4" in capfd.readouterr().err
    rows = (workdir / "bad_steps.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [2, 3, 4]
    last, step = whole_state(workdir)
    assert step in (3, 4)  # a save that was under way when the run ended may be lost
    for later in range(2, step + 1):
        (workdir / "checkpoints" / str(later)).rename(tmp_path / f"away{later}")
    first, step = whole_state(workdir)
    changed = {path.strip(".[']") for path, value in first.items() if last[path] != value}
    assert step == 1 and changed == {"step", "bad_steps"}
