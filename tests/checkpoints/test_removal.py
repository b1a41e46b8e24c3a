"""Old checkpoints go only once a newer one of the same run is complete."""

import json
import shutil

import jax
import jax.numpy as jnp
import pytest

from maskmim.checkpoints import checksums
from maskmim.checkpoints.reader import CheckpointError, attach_shardings, stored_steps
from maskmim.checkpoints.writer import Checkpoints


def state_at(step):
    return {"step": jnp.int32(step)}


def like():
    shapes = jax.eval_shape(lambda: state_at(0))
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return attach_shardings(shapes, jax.tree.map(lambda _: here, shapes))


def save(checkpoints, *steps):
    for step in steps:
        checkpoints.save(step, state_at(step), {"step": step}, json.dumps({}))
    checkpoints.wait()


@pytest.fixture
def folder(tmp_path):
    """Return the folder of the checkpoints 1, 2 and 3."""
    checkpoints = Checkpoints(tmp_path, keep_latest=3)
    save(checkpoints, 1, 2, 3)
    checkpoints.close()
    return checkpoints.folder


def test_opening_and_restoring_remove_nothing(folder):
    """As by a command that keeps fewer and is refused after it has read the checkpoint."""
    before = sorted(folder.rglob("*"))
    checkpoints = Checkpoints(folder.parent, keep_latest=1)
    assert checkpoints.restore(like()).step == 3
    checkpoints.close()
    assert sorted(folder.rglob("*")) == before


def test_the_first_own_save_removes_what_is_old(folder):
    checkpoints = Checkpoints(folder.parent, keep_latest=1)
    checkpoints.restore(like())
    save(checkpoints, 4)
    checkpoints.close()
    assert stored_steps(folder) == [4]


def test_later_steps_of_others_push_no_own_one_out(folder):
    checkpoints = Checkpoints(folder.parent, keep_latest=2)
    checkpoints.restore(like())
    shutil.copytree(folder / "3", folder / "90")
    save(checkpoints, 4, 5)
    checkpoints.close()
    assert stored_steps(folder) == [4, 5, 90]


def test_a_save_without_checksums_removes_nothing(folder, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    checkpoints = Checkpoints(folder.parent, keep_latest=1)
    with monkeypatch.context() as patch:
        patch.setattr(checksums, "write", full)
        save(checkpoints, 4)
    assert stored_steps(folder) == [1, 2, 3, 4] and "older checkpoints stay" in caplog.text
    save(checkpoints, 5)
    checkpoints.close()
    assert stored_steps(folder) == [5]


def test_a_half_removal_stays_where_too_few_are_left(folder):
    (folder / "1").rename(folder / "1.removed")
    Checkpoints(folder.parent, keep_latest=3).close()
    assert (folder / "1.removed").is_dir()
    Checkpoints(folder.parent, keep_latest=2).close()
    assert not (folder / "1.removed").exists()


def test_a_checkpoint_without_checksums_does_not_count_as_left(folder):
    (folder / "1").rename(folder / "1.removed")
    (folder / "checksums" / "2.json").write_text("{")
    Checkpoints(folder.parent, keep_latest=2).close()
    assert (folder / "1.removed").is_dir()


def test_a_half_removal_alone_begins_nothing_anew(folder):
    (folder / "3").rename(folder / "3.removed")
    for step in (1, 2):
        shutil.rmtree(folder / str(step))
    checkpoints = Checkpoints(folder.parent, keep_latest=1)
    with pytest.raises(CheckpointError, match=r"3\.removed, whose removal was cut off: rename it"):
        checkpoints.restore(like())
    (folder / "3.removed").rename(folder / "3")
    assert checkpoints.restore(like()).step == 3
    checkpoints.close()
