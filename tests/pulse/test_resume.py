"""A run that is killed or stopped and continued ends bit for bit where an undisturbed one ends."""

import json
import os
import random
import signal
import time

import jax
import numpy as np
import pytest

from maskmim import exits
from maskmim.checkpoint import Checkpoints, layout
from maskmim.evaluate import restore
from maskmim.metrics import read
from maskmim.workdir import load_config
from tests.running import run, start

STEPS = 28
FLAGS = (
    "--config=configs/colormae.py:tiny",
    "--config.train.epochs=1.5",
    "--config.checkpoint.every_epochs=0.12",
    "--config.evals.at_end=()",
    "--config.log.every_steps=1",
)


def final_state(workdir):
    """(path, array) of the newest checkpoint's whole state, and its step."""
    from maskmim.assemble import assemble

    config = load_config(workdir)
    parts = assemble(config, 296)
    checkpoints = Checkpoints(workdir)
    restored = checkpoints.restore(layout(parts.shapes, parts.places))
    checkpoints.close()
    return jax.tree_util.tree_leaves_with_path(restored.state), restored.step


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    result = run("train", *FLAGS, f"--workdir={workdir}")
    assert result.returncode == 0, result.stderr
    state, step = final_state(workdir)
    assert step == STEPS
    return state, losses(workdir)


def losses(workdir):
    return {row["step"]: row["loss"] for row in read(workdir / "metrics.jsonl")}


def saved_steps(workdir):
    folder = workdir / "checkpoints"
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return [int(name) for name in names if name.isdigit()]


def interrupt(workdir, log, number, after, delay):
    """Starts the training, and sends it a signal some time after a step beyond `after` is saved."""
    process = start("train", *FLAGS, f"--workdir={workdir}", output=log)
    deadline = time.monotonic() + 300
    while not any(step > after for step in saved_steps(workdir)):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, "no checkpoint appeared"
        time.sleep(0.02)
    time.sleep(delay)
    os.kill(process.pid, number)
    return process.wait(timeout=120)


def check_same(workdir, undisturbed):
    state, losses_before = undisturbed
    found, step = final_state(workdir)
    assert step == STEPS
    for (path, expected), (_, array) in zip(state, found, strict=True):
        np.testing.assert_array_equal(array, expected, err_msg=jax.tree_util.keystr(path))
    assert losses(workdir) == losses_before


def test_killed_three_times_ends_bit_for_bit_the_same(tmp_path, undisturbed):
    workdir, log = tmp_path / "run", tmp_path / "log"
    draw = random.Random(0)
    for after in (0, 6, 12):
        code = interrupt(workdir, log, signal.SIGKILL, after, draw.uniform(0, 0.3))
        assert code == -signal.SIGKILL
    result = run("train", *FLAGS, f"--workdir={workdir}")
    assert result.returncode == 0, result.stderr
    assert "continuing from step" in result.stdout
    check_same(workdir, undisturbed)


def test_sigterm_saves_and_leaves_with_its_code_and_continues(tmp_path, undisturbed):
    workdir, log = tmp_path / "run", tmp_path / "log"
    code = interrupt(workdir, log, signal.SIGTERM, 0, 0.0)
    assert code == exits.SAVED, log.read_text()
    assert "is saved; the same command continues" in log.read_text()
    stopped = max(saved_steps(workdir))
    assert losses(workdir).keys() == set(range(1, stopped + 1))
    result = run("train", *FLAGS, f"--workdir={workdir}")
    assert result.returncode == 0, result.stderr
    assert f"continuing from step {stopped}" in result.stdout
    check_same(workdir, undisturbed)
    again = run("train", *FLAGS, f"--workdir={workdir}")
    assert again.returncode == 0 and "complete" in again.stdout, again.stderr
    other = run("train", *FLAGS, "--config.optim.lr=0.1", f"--workdir={workdir}")
    assert other.returncode == exits.USAGE
    assert "optim.lr: 0.00015 -> 0.1" in other.stderr


def test_a_checkpoint_restores_on_another_mesh(tmp_path, undisturbed):
    """What 8 devices wrote under fsdp, one device reads."""
    workdir = tmp_path / "run"
    flags = (*FLAGS, "--config.mesh.data=1", "--config.mesh.fsdp=8", f"--workdir={workdir}")
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    result = run("train", *flags, **devices)
    assert result.returncode == 0, result.stderr
    config = load_config(workdir)
    with config.unlocked():
        config.mesh.fsdp = 1
    _, variables, step = restore(config, workdir)
    assert step == STEPS
    for (path, expected), array in zip(
        [(p, a) for p, a in undisturbed[0] if ".params" in jax.tree_util.keystr(p)],
        jax.tree.leaves(variables.params),
        strict=True,
    ):
        np.testing.assert_allclose(
            array, expected, rtol=1e-3, atol=2e-5, err_msg=jax.tree_util.keystr(path)
        )
    assert json.loads((workdir / "config.json").read_text())["mesh"]["fsdp"] == 8
