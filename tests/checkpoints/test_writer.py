"""Checkpoints: what was saved comes back, and damage costs one checkpoint, not a run."""

import json
import logging
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.checkpoints import checksums, reader
from maskmim.checkpoints.reader import (
    CheckpointError,
    UnreadableCheckpoint,
    attach_shardings,
    checksums_path,
    explain_no_checkpoint,
    group_large_first,
    restore_newest,
    stored_steps,
)
from maskmim.checkpoints.writer import Checkpoints, remove_checkpoint, steps_to_remove
from maskmim.training.sharding import make_mesh, replicated
from maskmim.types import State

# Orbax leaves event loops open where reading fails.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def state_at(step):
    values = jax.random.normal(jax.random.key(step), (64, 33))
    params = {"encoder": {"kernel": values, "bias": values[0]}}
    return State(jnp.int32(step), params, {"ema": {"w": -values}}, ({"mu": params},), jnp.int32(0))


@pytest.fixture(scope="module")
def like():
    whole = replicated(make_mesh({"data": -1, "fsdp": 1, "tensor": 1}))
    shapes = jax.eval_shape(lambda: state_at(0))
    return attach_shardings(shapes, jax.tree.map(lambda _: whole, shapes))


def saved(folder, steps, **options):
    checkpoints = Checkpoints(folder, **options)
    for step in steps:
        checkpoints.save(step, state_at(step), {"step": step}, json.dumps({"a": [step]}))
    checkpoints.wait()
    return checkpoints


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Return a run with the checkpoints 1 and 2, to be copied."""
    workdir = tmp_path_factory.mktemp("two")
    saved(workdir, [1, 2]).close()
    return workdir


@pytest.fixture
def run(two, tmp_path):
    """Return a run with the checkpoints 1 and 2, to be damaged."""
    return shutil.copytree(two, tmp_path / "run")


def files_of(workdir, step):
    return sorted(p for p in (workdir / "checkpoints" / str(step)).rglob("*") if p.is_file())


def arrays_of(workdir, step):
    return next(path for path in files_of(workdir, step) if path.parent.name == "d")


def restore(workdir, like):
    checkpoints = Checkpoints(workdir)
    try:
        return checkpoints.restore(like)
    finally:
        checkpoints.close()


def assert_same(restored, step):
    assert restored.step == step
    assert restored.data == {"step": step}
    # Without checksums there is no copy of a config that is lost.
    assert json.loads(restored.config or json.dumps({"a": [step]})) == {"a": [step]}
    for array, expected in zip(
        jax.tree.leaves(restored.state), jax.tree.leaves(state_at(step)), strict=True
    ):
        np.testing.assert_array_equal(array, expected)


def test_the_newest_comes_back_bit_for_bit(run, like):
    assert_same(restore(run, like), 2)


def test_nothing_saved_is_none(tmp_path, like):
    assert restore(tmp_path, like) is None
    assert restore_newest(tmp_path / "no run", like._asdict()) is None


def test_keep_policies(tmp_path):
    checkpoints = saved(tmp_path, [1, 2, 3, 4, 5, 6], keep_latest=2, keep_every=3)
    checkpoints.close()
    assert stored_steps(checkpoints.folder) == [3, 5, 6] and checkpoints.latest == 6
    assert sorted(int(p.stem) for p in checkpoints.sums.iterdir()) == [3, 5, 6]
    assert steps_to_remove([1, 2, 3], 1, 0, saved=3) == [1, 2]
    assert steps_to_remove([4], 2, 0, saved=4) == []
    assert steps_to_remove([1, 2, 9], 1, 0, saved=2) == [1]  # 9 is of no save of this process
    with pytest.raises(CheckpointError, match="keep_latest is 0"):
        Checkpoints(tmp_path, keep_latest=0)


def test_a_step_that_exists_is_kept(run, like):
    checkpoints = Checkpoints(run)
    checkpoints.save(2, state_at(7), {"step": 7}, "{}")
    checkpoints.close()
    assert_same(restore(run, like), 2)


def test_a_removal_that_is_cut_off_leaves_no_step(run, monkeypatch):
    checkpoints = Checkpoints(run, keep_latest=2)
    monkeypatch.setattr("maskmim.checkpoints.writer.shutil.rmtree", lambda *_, **__: None)
    checkpoints.save(3, state_at(3), {"step": 3}, "{}")
    checkpoints.close()
    checkpoints.close()  # twice does no harm
    assert stored_steps(checkpoints.folder) == [2, 3]
    assert (checkpoints.folder / "1.removed" / "state").exists()
    assert sorted(path.name for path in checkpoints.sums.iterdir()) == ["2.json", "3.json"]


def flip_bit(path, place=None, bit=0):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 1 << bit
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def remove(path):
    path.unlink()


def replaced_by_a_folder(path):
    path.unlink()
    path.mkdir()


HARMS = (truncate, flip_bit, empty, remove, replaced_by_a_folder)


@pytest.mark.parametrize("harm", HARMS)
def test_damage_to_a_file_costs_nothing_if_small_else_one_checkpoint(
    two, tmp_path, like, caplog, harm
):
    copies, restored = checksums.read_copies(checksums_path(two / "checkpoints", 2)), []
    assert {"data/metadata", "config/metadata", "state/_METADATA"} <= copies.keys()
    for place, original in enumerate(files_of(two, 2)):
        workdir = shutil.copytree(two, tmp_path / f"run{place}")
        harm(files_of(workdir, 2)[place])
        small = str(original.relative_to(two / "checkpoints" / "2")) in copies
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert_same(restore(workdir, like), 2 if small else 1)
        assert len(caplog.records) == 1, [record.getMessage() for record in caplog.records]
        said = "has lost" if small else "is unreadable (1 damaged"
        assert f"checkpoint 2 {said}" in caplog.records[0].getMessage()
        assert (workdir / "checkpoints-damaged" / "2").exists() == (not small)
        restored.append(2 if small else 1)
    assert restored.count(2) == len(copies) > 5 < restored.count(1) + 3


@pytest.mark.parametrize("harm", [truncate, empty, remove])
def test_without_sums_a_broken_file_never_gives_wrong_values(two, tmp_path, like, harm):
    """Some files are not needed: then the newest is read, and gets checksums as it is."""
    outcomes = []
    for place, name in enumerate(files_of(two, 2)):
        workdir = shutil.copytree(two, tmp_path / f"run{place}")
        checksums_path(workdir / "checkpoints", 2).unlink()
        harm(files_of(workdir, 2)[place])
        restored = restore(workdir, like)
        assert_same(restored, restored.step)
        outcomes.append((name.name, restored.step))
    assert {step for _, step in outcomes} == {1, 2}, outcomes


def folder_emptied(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def folder_replaced_by_a_file(folder):
    shutil.rmtree(folder)
    folder.write_text("not a folder")


def state_removed(folder):
    shutil.rmtree(folder / "state")


def json_items_removed(folder):
    shutil.rmtree(folder / "config")
    shutil.rmtree(folder / "data")


@pytest.mark.parametrize("sealed", [True, False], ids=["with sums", "without sums"])
def test_lost_json_items_cost_nothing(run, like, caplog, sealed):
    folder = run / "checkpoints"
    if not sealed:
        checksums_path(folder, 2).unlink()
    json_items_removed(folder / "2")
    with caplog.at_level(logging.WARNING, "maskmim"):
        restored = restore(run, like)
    assert_same(restored, 2)
    assert bool(restored.config) == sealed
    ours = [record for record in caplog.records if record.name == "maskmim"]
    assert ours and all("checkpoint 2 has lost" in record.getMessage() for record in ours)


@pytest.mark.parametrize("sealed", [True, False], ids=["with sums", "without sums"])
@pytest.mark.parametrize("harm", [folder_emptied, folder_replaced_by_a_file, state_removed])
def test_damage_to_folders_costs_one_checkpoint(run, like, caplog, harm, sealed):
    folder = run / "checkpoints"
    if not sealed:
        checksums_path(folder, 2).unlink()
    harm(folder / "2")
    with caplog.at_level(logging.WARNING, "maskmim"):
        assert_same(restore(run, like), 1)
    ours = [record for record in caplog.records if record.name == "maskmim"]
    assert len(ours) == 1 and "checkpoint 2 is unreadable" in ours[0].getMessage()
    assert (run / "checkpoints-damaged" / "2").exists() and stored_steps(folder) == [1]


def test_one_flipped_bit_anywhere_is_found(run):
    folder, draw = run / "checkpoints" / "2", random.Random(0)
    sums = checksums.read(checksums_path(run / "checkpoints", 2))
    files = [path for path in files_of(run, 2) if path.stat().st_size]
    for _ in range(200):
        path, bit = draw.choice(files), draw.randrange(8)
        place = draw.randrange(path.stat().st_size)
        flip_bit(path, place, bit)
        assert "1 damaged" in checksums.describe_damage(folder, sums), (path, place, bit)
        flip_bit(path, place, bit)
    assert not checksums.describe_damage(folder, sums)


@pytest.mark.parametrize("harm", [truncate, flip_bit, empty, lambda p: p.write_text("[1]")])
def test_damaged_sums_condemn_nothing_and_are_made_again(run, like, caplog, harm):
    place = checksums_path(run / "checkpoints", 2)
    before = place.read_text()
    harm(place)
    assert checksums.read(place) is None
    with caplog.at_level(logging.WARNING):
        assert_same(restore(run, like), 2)
    assert [r.getMessage() for r in caplog.records] == [
        "the checksums of checkpoint 2 are damaged: reading it without them"
    ]
    assert place.read_text() == before


def test_missing_sums_are_made_at_the_next_opening(run, like, caplog):
    place = checksums_path(run / "checkpoints", 2)
    before = place.read_text()
    place.unlink()
    with caplog.at_level(logging.WARNING):
        assert_same(restore(run, like), 2)
    assert place.read_text() == before and not caplog.records


def test_leftovers_of_killed_processes_are_removed_by_the_next_one_that_writes(run, like):
    folder = run / "checkpoints"
    for name in ("3.orbax-checkpoint-tmp", "0.removed"):
        shutil.copytree(folder / "2" / "state", folder / name / "state")
    (folder / "checksums" / "9.json").write_text("{}")
    (folder / "checksums" / "2.json.part").write_text("{")
    assert restore_newest(run, like._asdict()).step == 2
    assert (folder / "3.orbax-checkpoint-tmp").exists()  # may be a save that is under way
    checkpoints = Checkpoints(run)
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2", "checksums"]
    assert sorted(p.name for p in checkpoints.sums.iterdir()) == ["1.json", "2.json"]
    checkpoints.close()


def test_two_damaged_ones_of_the_same_step_are_both_kept(run, like):
    for _ in range(2):
        empty(arrays_of(run, 2))
        checkpoints = Checkpoints(run)
        assert checkpoints.restore(like).step == 1
        checkpoints.save(2, state_at(2), {"step": 2}, json.dumps({"a": [2]}))
        checkpoints.close()
    assert sorted(p.name for p in (run / "checkpoints-damaged").iterdir()) == ["2", "2-1"]
    assert_same(restore(run, like), 2)


def test_all_damaged_is_an_error_that_says_where_they_are(two, run, like):
    for path in files_of(run, 1) + files_of(run, 2):
        empty(path)
    with pytest.raises(CheckpointError, match=r"none of the checkpoints \[2, 1\]"):
        restore_newest(run, like._asdict())
    for _ in range(2):  # nothing is begun anew by the same command
        with pytest.raises(CheckpointError, match=r"no checkpoint.*checkpoints-damaged"):
            restore(run, like)
        assert sorted(p.name for p in (run / "checkpoints-damaged").iterdir()) == ["1", "2"]
    assert "damaged: copy a good one into" in explain_no_checkpoint(run)
    shutil.copytree(two / "checkpoints" / "2", run / "checkpoints" / "2")
    assert_same(restore(run, like), 2)


def test_readers_pass_over_damage_and_change_nothing(run, like, caplog):
    empty(arrays_of(run, 2))
    before = sorted(run.rglob("*"))
    with caplog.at_level(logging.WARNING, "maskmim"):
        restored = restore_newest(run, {"params": like.params, "extra": like.extra})
    assert restored.step == 1 and set(restored.state) == {"params", "extra"}
    jax.tree.map(np.testing.assert_array_equal, restored.state["params"], state_at(1).params)
    assert sorted(run.rglob("*")) == before
    ours = [r.getMessage() for r in caplog.records if r.name == "maskmim"]
    assert len(ours) == 1 and "checkpoint 2 in" in ours[0]


def test_a_sound_checkpoint_that_cannot_be_read_now_is_no_damage(run, like, monkeypatch):
    def fail(*_):
        raise OSError("too many open files")

    monkeypatch.setattr("maskmim.checkpoints.reader.read_checkpoint", fail)
    with pytest.raises(UnreadableCheckpoint, match=r"matches its checksums.*too many open files"):
        restore(run, like)
    assert UnreadableCheckpoint.exit_code == 74 and stored_steps(run / "checkpoints") == [1, 2]


def test_readers_go_on_to_a_newer_one_when_theirs_is_removed(two, run, like, monkeypatch, caplog):
    """As while a training saves and removes: before, while and after the arrays are read."""
    arrays = {"params": like.params, "extra": like.extra}
    moments = iter(("before", "during", "after"))
    read = reader.read_checkpoint

    def read_while_training(path, step, like):
        moment = next(moments, "")
        newer = run / "checkpoints" / str(step + 1)
        if moment:
            shutil.copytree(two / "checkpoints" / "2", newer)
        if moment in ("before", "during"):
            remove_checkpoint(run / "checkpoints", step)
        restored = read(path, step, like)
        if moment == "after":
            remove_checkpoint(run / "checkpoints", step)
        return restored

    monkeypatch.setattr(reader, "read_checkpoint", read_while_training)
    with caplog.at_level(logging.WARNING, "maskmim"):
        assert restore_newest(run, arrays).step == 5
    assert not [record for record in caplog.records if record.name == "maskmim"]


def test_other_parameters_are_an_error_and_nothing_is_moved(run, like):
    kernel = like.params["encoder"]["kernel"]
    other = jax.ShapeDtypeStruct((64, 34), kernel.dtype, sharding=kernel.sharding)
    wrong = like._replace(params={"encoder": {**like.params["encoder"], "kernel": other}})
    with pytest.raises(CheckpointError, match="intact but holds other arrays"):
        restore(run, wrong)
    more = like._replace(extra={**like.extra, "centre": kernel})
    with pytest.raises(CheckpointError, match="extra/centre: missing in the file"):
        restore(run, more)
    assert_same(restore(run, like), 2)


def test_large_arrays_are_read_first_and_alone():
    assert group_large_first([10, 500, 20, 300, 30, 40, 600]) == [[6], [1], [3], [5, 4, 2, 0]]
    assert group_large_first([1000]) == [[0]] and group_large_first([]) == [[]]
    assert group_large_first([1] * 40) == [list(range(40))]
