"""Fine-tuning through the command: the table at its end, and a kill in the middle."""

import json
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
from maskmim.runtime import exits
from maskmim.train import main
from maskmim.training.build import assemble
from maskmim.tree_paths import named_leaves

pytestmark = pytest.mark.full

COMMON = (
    "--config.train.epochs=0.3",
    "--config.log.pictures_every_epochs=0",
    "--config.log.every_steps=1",
    "--config.evals.monitors=()",
    "--config.evals.test.split=val",
    "--config.evals.train.split=val",
)
PRETRAINED = (
    "--config=configs/mae.py:tiny",
    "--config.input.size=16,16",
    "--config.model.variant=2x16x2",
    "--config.model.patch=4,4",
    "--config.model.decoder_width=16",
    "--config.evals.at_end=linear_probe",
    "--config.evals.probes.linear_probe.epochs=3",
    "--config.evals.probes.linear_probe.warmup_epochs=1",
    *COMMON,
)
# Everything of the recipe that draws random numbers.
TRICKS = (
    "--config.mix.brick=maskmim.methods.mixing.mixup_or_cutmix",
    "--config.erase.brick=maskmim.methods.erasing.random_erasing",
    "--config.data.augment.brick=maskmim.data.rand_augment.rand_augment_crop_flip",
    "--config.model.drop_path=0.1",
)
# The encoder begins to move in the middle.
LATE = (
    "--config.optim.brick=maskmim.optim.frozen_until",
    "--config.optim.paths=^encoder/",
    "--config.optim.until=0.5",
    "--config.optim.optimiser.brick=maskmim.optim.adamw_layerwise",
)
STEPS = 6


def command(*flags):
    """Run the command in this process; return its exit code."""
    return exits.run(main, list(flags))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A pretrained run, and one that is fine-tuned from it beside its twin."""
    folder = tmp_path_factory.mktemp("tuned")
    assert command(*PRETRAINED, f"--workdir={folder / 'a'}") == errors.DONE
    flags = (
        f"--config=finetune:begin={folder / 'a'},tiny",
        *COMMON,
        *TRICKS,
        "--config.checkpoint.every_epochs=0.1",
        "--config.checkpoint.keep_latest=9",
    )
    assert command(*flags, f"--workdir={folder / 'b'}") == errors.DONE
    return folder, flags


def arrays(workdir):
    """All arrays of the newest checkpoint of a run, by path."""
    parts = assemble(load_config(workdir), 296)
    restored = restore_newest(workdir, attach_shardings(parts.shapes, parts.shardings)._asdict())
    return dict(named_leaves(restored.state))


def cut_off(workdir, keep):
    """Leave a run as a kill behind its checkpoint `keep` leaves it; None for no checkpoint."""
    (workdir / "results.json").unlink()
    for step in stored_steps(workdir / "checkpoints"):
        if keep is None or step > keep:
            shutil.rmtree(workdir / "checkpoints" / str(step))
            checksums_path(workdir / "checkpoints", step).unlink()


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for path, array in one.items():
        np.testing.assert_array_equal(array, other[path], err_msg=path)


def test_the_table_has_all_rows(finished):
    folder, _ = finished
    stored = json.loads((folder / "b" / "results.json").read_text())
    probes = ("raw pixels", "colour histogram", "a random init of its network", f"a, step {STEPS}")
    assert list(stored["comparison"]["top1"]) == [
        "fine-tuned from a",
        "from scratch",
        *(f"linear probe of {each}" for each in probes),
    ]
    assert all(0 <= row["fine"] <= 1 for row in stored["comparison"]["top1"].values())
    twin = load_config(folder / "b" / "from_scratch")
    assert twin.begin.workdir == "" and twin.optim.decay == 1.0


def test_the_encoder_is_that_of_the_run_but_for_its_norm(finished, capsys):
    folder, flags = finished
    frozen = f"--workdir={folder / 'frozen'}"
    late = [*LATE[:2], "--config.optim.until=1", LATE[3]]
    flags = [flags[0].replace(",tiny", ",alone,tiny"), *flags[1:], *late, frozen]
    assert command(*flags) == errors.DONE
    assert "left in the source" in capsys.readouterr().out
    before, after = arrays(folder / "a"), arrays(folder / "frozen")
    encoder = [path for path in after if path.startswith("params/encoder/")]
    assert {path for path in before if path.startswith("params/encoder/")} - set(encoder) == {
        "params/encoder/norm/norm/bias",
        "params/encoder/norm/norm/scale",
    }
    for path in encoder:
        np.testing.assert_array_equal(before[path], after[path], err_msg=path)


@pytest.mark.parametrize("killed", ["run", "twin"])
def test_a_kill_changes_no_bit(finished, tmp_path, killed):
    """Of the run at its second checkpoint, before its twin; or of the twin."""
    folder, flags = finished
    workdir = shutil.copytree(folder / "b", tmp_path / "b")
    twin = workdir / "from_scratch"
    if killed == "run":
        shutil.rmtree(twin)
        cut_off(workdir, keep=4)
    else:
        cut_off(twin, keep=2)
    assert command(*flags, f"--workdir={workdir}") == errors.DONE
    assert_equal(arrays(workdir), arrays(folder / "b"))
    assert_equal(arrays(twin), arrays(folder / "b" / "from_scratch"))
    tables = [json.loads((each / "results.json").read_text()) for each in (workdir, folder / "b")]
    assert tables[0]["comparison"] == tables[1]["comparison"]


def test_parameters_that_move_late_go_on_bit_for_bit(finished, tmp_path):
    _, flags = finished
    late = [flags[0].replace(",tiny", ",alone,tiny"), *flags[1:], *LATE]
    assert command(*late, f"--workdir={tmp_path / 'whole'}") == errors.DONE
    for keep in (2, 4):  # before and after the encoder begins to move
        workdir = shutil.copytree(tmp_path / "whole", tmp_path / f"cut{keep}")
        cut_off(workdir, keep=keep)
        assert command(*late, f"--workdir={workdir}") == errors.DONE
        assert_equal(arrays(workdir), arrays(tmp_path / "whole"))
