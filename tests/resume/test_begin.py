"""Stages: a run that begins from another, is cut off, and continues without its source."""

import shutil

import numpy as np
import pytest

from maskmim import errors
from maskmim.checkpoints.reader import (
    attach_shardings,
    checksums_path,
    restore_newest,
    stored_steps,
)
from maskmim.checkpoints.workdir import load_config
from maskmim.reporting.metrics_log import read_metrics
from maskmim.runtime import exits
from maskmim.train import main
from maskmim.training.build import assemble
from maskmim.tree_paths import named_leaves
from tests.running import SMALL, as_tests, run
from tests.tolerances import REORDERED

pytestmark = pytest.mark.full

STEPS = 6
FLAGS = (
    "--config=configs/mae.py:tiny",
    *SMALL,
    "--config.train.epochs=0.3",
    "--config.checkpoint.every_epochs=0.1",
    "--config.checkpoint.keep_latest=9",
    "--config.evals.at_end=()",
    "--config.evals.test.split=val",
    "--config.log.pictures_every_epochs=0",
    "--config.log.every_steps=1",
)


def train(workdir, *flags):
    """Run the command in this process; return its exit code."""
    return exits.run(main, [*FLAGS, *flags, f"--workdir={workdir}"])


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Return the folders of two finished stages and the flags of the second one."""
    folder = tmp_path_factory.mktemp("stages")
    assert train(folder / "a", "--config.seed=3") == errors.DONE
    flags = f"--config.begin.workdir={folder / 'a'}", "--config.mask.ratio=0.5"
    assert train(folder / "b", *flags) == errors.DONE
    return folder / "a", folder / "b", flags


def newest(workdir):
    parts = assemble(load_config(workdir), 296)
    return restore_newest(workdir, attach_shardings(parts.shapes, parts.shardings)._asdict())


def losses(workdir):
    rows = read_metrics(workdir / "metrics.jsonl")
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


@pytest.fixture
def cut_off(stages, tmp_path):
    """Return the second stage as it is after a kill behind its first checkpoint, without source."""
    source, finished, flags = stages
    workdir = shutil.copytree(finished, tmp_path / "b")
    for step in stored_steps(workdir / "checkpoints")[1:]:
        shutil.rmtree(workdir / "checkpoints" / str(step))
        checksums_path(workdir / "checkpoints", step).unlink()
    source.rename(source.with_name("away"))
    yield workdir, flags
    source.with_name("away").rename(source)


def test_a_stage_continues_without_its_source_bit_for_bit(stages, cut_off, capsys):
    source, finished, _ = stages
    workdir, flags = cut_off
    assert stored_steps(workdir / "checkpoints") == [2]
    assert train(workdir, *flags) == errors.DONE
    printed = capsys.readouterr().out
    assert f"begun from {source}, step {STEPS} (decoder, encoder: 36 arrays" in printed
    assert f"continuing from step 2 of {STEPS}" in printed and "beginning from" not in printed
    expected, actual = newest(finished), newest(workdir)
    assert expected.step == actual.step == STEPS
    for (path, one), (_, other) in zip(
        named_leaves(expected.state), named_leaves(actual.state), strict=True
    ):
        np.testing.assert_array_equal(one, other, err_msg=path)
    assert losses(workdir) == losses(finished)
    assert expected.data["began"] == actual.data["began"]
    assert actual.data["began"]["step"] == STEPS


@pytest.mark.parametrize(
    "change", ["begin.take=encoder", "begin.workdir=elsewhere", "begin.file=x"]
)
def test_a_run_begins_once(cut_off, capsys, change):
    workdir, flags = cut_off
    changed = [f for f in flags if f.partition("=")[0] != f"--config.{change.partition('=')[0]}"]
    assert train(workdir, *changed, f"--config.{change}") == errors.USAGE
    message = capsys.readouterr().err
    assert "begin" in message and ("a run begins once" in message or "both set" in message)
    assert stored_steps(workdir / "checkpoints") == [2]


def test_leaving_the_source_out_is_another_run(cut_off, capsys):
    workdir, flags = cut_off
    assert train(workdir, *flags[1:]) == errors.USAGE
    assert "begin.workdir" in capsys.readouterr().err


def test_the_first_loss_is_the_same_on_eight_devices(stages, tmp_path):
    _, finished, flags = stages
    mesh = "--config.mesh.data=1", "--config.mesh.fsdp=8"
    result = run(
        "train",
        *FLAGS,
        *flags,
        *mesh,
        f"--workdir={tmp_path / 'eight'}",
        **as_tests("--xla_force_host_platform_device_count=8"),
    )
    assert result.returncode == errors.DONE, result.stderr
    assert losses(tmp_path / "eight")[1] == pytest.approx(losses(finished)[1], rel=REORDERED)
