"""A run that is killed or stopped and continued ends bit for bit where an undisturbed one ends."""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import time

import jax
import numpy as np
import pytest

from maskmim import errors
from maskmim.checkpoints.reader import attach_shardings, restore_newest, stored_steps
from maskmim.checkpoints.workdir import load_config
from maskmim.config.bricks import bind
from maskmim.reporting.metrics_log import read_metrics
from maskmim.runtime import exits
from maskmim.train import main
from maskmim.train_loop import open_batches
from maskmim.training.build import assemble
from tests.running import ROOT, SMALL, as_tests, command, environment, run

pytestmark = pytest.mark.full

STEPS = 22
FLAGS = (
    "--config=configs/hpm.py:tiny",
    *SMALL,
    "--config.train.epochs=1.2",
    "--config.checkpoint.every_epochs=0.12",
    "--config.evals.at_end=()",
    "--config.evals.test.split=val",
    "--config.log.pictures_every_epochs=0",
)


def train(workdir, *flags):
    """Run the command in this process; return its exit code."""
    return exits.run(main, [*FLAGS, *flags, f"--workdir={workdir}"])


@pytest.fixture(
    scope="module", params=["float32", pytest.param("bfloat16", marks=pytest.mark.slow)]
)
def undisturbed(request, tmp_path_factory):
    """Return the work directory of an undisturbed run, and the flag of its dtype."""
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    flag = f"--config.model.dtype={request.param}"
    assert train(workdir, flag) == errors.DONE
    return workdir, flag


def everything(workdir):
    """Return (path, array) of the whole state of the newest checkpoint, and its step."""
    config = load_config(workdir)
    parts = assemble(config, 296)
    restored = restore_newest(workdir, attach_shardings(parts.shapes, parts.shardings)._asdict())
    return jax.tree_util.tree_leaves_with_path(restored.state), restored.step


def losses(workdir):
    return {
        row["step"]: row["loss"] for row in read_metrics(workdir / "metrics.jsonl") if "loss" in row
    }


def next_records(workdir, step, count=100):
    """Return the next `count` records that a run would read after `step`."""
    config = load_config(workdir)
    records = bind(config.data.train)()
    batches = open_batches(config, assemble(config, len(records)), records, step)
    needed = -(-count // config.train.batch_size)
    records_read = [np.asarray(batch["record"]) for batch in itertools.islice(batches, needed)]
    return np.concatenate(records_read)[:count]


def interrupt(workdir, log, number, flag):
    """Start the training and send it a signal after it has saved a step; return its code.

    Bits are compared: it is compiled as the other runs are, in this process.
    """
    folder, draw = workdir / "checkpoints", random.Random(number)
    before = stored_steps(folder)[-1:]
    words = command("train", *FLAGS, flag, f"--workdir={workdir}")
    with log.open("ab") as output:
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment(**as_tests()), stdout=output, stderr=subprocess.STDOUT
        )
    deadline = time.monotonic() + 300
    while stored_steps(folder)[-1:] == before:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, "no checkpoint appeared"
        time.sleep(0.02)
    time.sleep(draw.uniform(0, 0.2))
    os.kill(process.pid, number)
    return process.wait(timeout=120)


def check_same(workdir, undisturbed):
    expected, actual = everything(undisturbed), everything(workdir)
    assert expected[1] == actual[1] == STEPS
    parts = {jax.tree_util.keystr(path[:1], simple=True) for path, _ in expected[0]}
    assert parts == {"step", "params", "extra", "opt_state", "bad_steps"}
    for (path, one), (_, other) in zip(expected[0], actual[0], strict=True):
        np.testing.assert_array_equal(one, other, err_msg=jax.tree_util.keystr(path))
    assert losses(workdir) == losses(undisturbed)


def test_killed_and_stopped_it_ends_bit_for_bit_the_same(tmp_path, undisturbed, capsys):
    straight, flag = undisturbed
    workdir, log = tmp_path / "run", tmp_path / "log"
    code = interrupt(workdir, log, signal.SIGKILL, flag)
    assert code == -signal.SIGKILL
    code = interrupt(workdir, log, signal.SIGTERM, flag)
    assert code == errors.SAVED, log.read_text()
    assert "is saved; the same command continues" in log.read_text()
    stopped = stored_steps(workdir / "checkpoints")[-1]
    assert 0 < stopped < STEPS and max(losses(workdir)) == stopped
    position = everything(workdir)[1]
    order = next_records(straight, 0, 16 * stopped + 100)
    np.testing.assert_array_equal(next_records(workdir, position), order[16 * stopped :])
    capsys.readouterr()
    assert train(workdir, flag) == errors.DONE
    assert f"continuing from step {stopped} of {STEPS}" in capsys.readouterr().out
    check_same(workdir, straight)


@pytest.fixture
def finished(tmp_path, undisturbed):
    """Return a copy of the undisturbed run, and the flag of its dtype."""
    return shutil.copytree(undisturbed[0], tmp_path / "finished"), undisturbed[1]


def test_a_finished_run_is_extended(finished, capsys):
    workdir, flag = finished
    assert train(workdir, flag, "--config.train.epochs=1.3") == errors.DONE
    printed = capsys.readouterr().out
    assert "changed for the rest of the run: train.epochs: 1.2 -> 1.3" in printed
    assert "continuing from step 22 of 24" in printed
    assert everything(workdir)[1] == 24 and load_config(workdir).train.epochs == 1.3
    assert max(losses(workdir)) == 24


def test_a_run_shortened_below_what_is_done_ends_where_it_is(finished, capsys):
    workdir, flag = finished
    before = everything(workdir)[0]
    assert train(workdir, flag, "--config.train.epochs=1") == errors.DONE
    printed = capsys.readouterr().out
    assert f"this run has {STEPS} steps already, more than the 18 asked for" in printed
    assert "changed for" not in printed
    assert stored_steps(workdir / "checkpoints")[-1] == STEPS
    jax.tree.map(np.testing.assert_array_equal, before, everything(workdir)[0])


def test_another_learning_rate_is_refused_and_nothing_is_touched(finished, capsys):
    workdir, flag = finished
    before = sorted(path for path in workdir.rglob("*"))
    assert train(workdir, flag, "--config.optim.lr=0.1") == errors.USAGE
    assert "optim.lr: 0.00015 -> 0.1" in capsys.readouterr().err
    assert sorted(path for path in workdir.rglob("*")) == before


def test_the_command_on_a_finished_run_does_nothing(finished, capsys):
    workdir, flag = finished
    assert train(workdir, flag) == errors.DONE
    assert "This run is complete: 22 steps" in capsys.readouterr().out


def test_a_run_stopped_in_its_last_evaluation_does_it_again_and_no_step(finished, capsys):
    workdir, flag = finished
    before, rows = everything(workdir)[0], read_metrics(workdir / "metrics.jsonl")
    results = (workdir / "results.json").read_text()
    (workdir / "results.json").unlink()
    assert train(workdir, flag) == errors.DONE
    again = json.loads((workdir / "results.json").read_text())
    first = json.loads(results)
    for found in (first, again):
        del found["seconds"], found["measures"]["seconds"]
    assert first == again
    jax.tree.map(np.testing.assert_array_equal, before, everything(workdir)[0])
    assert read_metrics(workdir / "metrics.jsonl") == rows


@pytest.mark.slow
def test_trained_on_eight_devices_it_ends_near_what_one_gives(tmp_path):
    """What 8 devices trained and wrote under fsdp, one device reads; masks do not depend on it."""
    flags = [flag.replace("hpm", "colormae") for flag in FLAGS]
    one, eight = tmp_path / "one", tmp_path / "eight"
    assert exits.run(main, [*flags, f"--workdir={one}"]) == errors.DONE
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    mesh = "--config.mesh.data=1", "--config.mesh.fsdp=8"
    result = run("train", *flags, *mesh, f"--workdir={eight}", **devices)
    assert result.returncode == errors.DONE, result.stderr
    like = assemble(load_config(one), 296)
    layout = {"params": attach_shardings(like.shapes.params, like.shardings.params)}
    expected, actual = (restore_newest(workdir, layout).state["params"] for workdir in (one, eight))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5), expected, actual
    )
