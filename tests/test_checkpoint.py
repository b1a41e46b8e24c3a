"""Checkpoints: what was saved comes back, and damage costs one checkpoint, not a run."""

import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.checkpoint import CheckpointError, Checkpoints, checksums, layout
from maskmim.sharding import make_mesh, replicated
from maskmim.step import State


def state_at(step):
    values = jax.random.normal(jax.random.key(step), (64, 33))
    params = {"encoder": {"kernel": values, "bias": values[0]}}
    return State(jnp.int32(step), params, {"ema": {"w": -values}}, ({"mu": params},), jnp.int32(0))


@pytest.fixture
def like():
    whole = replicated(make_mesh({"data": -1, "fsdp": 1, "tensor": 1}))
    shapes = jax.eval_shape(lambda: state_at(0))
    return layout(shapes, jax.tree.map(lambda _: whole, shapes))


def saved(folder, steps, **options):
    checkpoints = Checkpoints(folder, **options)
    for step in steps:
        checkpoints.save(step, state_at(step), {"step": step}, json.dumps({"a": [step]}))
    checkpoints.wait()
    return checkpoints


def assert_same(restored, step):
    assert restored.step == step
    assert restored.data == {"step": step}
    assert json.loads(restored.config) == {"a": [step]}
    for found, expected in zip(
        jax.tree.leaves(restored.state), jax.tree.leaves(state_at(step)), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_the_newest_comes_back_bit_for_bit(tmp_path, like):
    saved(tmp_path, [1, 2]).close()
    assert_same(Checkpoints(tmp_path).restore(like), 2)


def test_nothing_saved_is_none(tmp_path, like):
    assert Checkpoints(tmp_path).restore(like) is None


def test_keep_policies(tmp_path):
    checkpoints = saved(tmp_path, [1, 2, 3, 4, 5, 6], keep_latest=2, keep_every=3)
    checkpoints.close()
    steps = sorted(int(p.name) for p in checkpoints.folder.iterdir() if p.name.isdigit())
    assert steps == [3, 5, 6]
    assert sorted(int(p.stem) for p in checkpoints.sums.iterdir()) == steps


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("sealed", [True, False], ids=["with sums", "without sums"])
@pytest.mark.parametrize("harm", [truncate, lambda path: path.unlink()], ids=["truncate", "delete"])
def test_a_damaged_newest_is_set_aside(tmp_path, like, caplog, harm, sealed):
    checkpoints = saved(tmp_path, [1, 2])
    checkpoints.close()
    if not sealed:
        (checkpoints.sums / "2.json").unlink()
    files = [p for p in (checkpoints.folder / "2" / "state").rglob("*") if p.is_file()]
    harm(max(files, key=lambda p: p.stat().st_size))
    with caplog.at_level(logging.WARNING, "maskmim"):
        assert_same(Checkpoints(tmp_path).restore(like), 1)
    ours = [record for record in caplog.records if record.name == "maskmim"]
    assert len(ours) == 1 and "checkpoint 2 is unreadable" in ours[0].getMessage()
    assert (tmp_path / "checkpoints-damaged" / "2").is_dir()


def test_one_flipped_bit_in_any_file_is_found(tmp_path, like):
    folder = tmp_path / "run"
    saved(folder, [1, 2]).close()
    count = len(checksums(folder / "checkpoints" / "2"))
    assert count > 3
    for place in range(0, count, max(1, count // 4)):
        other = tmp_path / f"run{place}"
        saved(other, [1, 2]).close()
        files = sorted(p for p in (other / "checkpoints" / "2").rglob("*") if p.is_file())
        if files[place].stat().st_size:
            flip_bit(files[place])
            assert_same(Checkpoints(other).restore(like), 1)


def test_all_damaged_is_an_error_that_says_where_they_are(tmp_path, like):
    checkpoints = saved(tmp_path, [1, 2])
    checkpoints.close()
    for step in ("1", "2"):
        for path in (checkpoints.folder / step).rglob("*"):
            if path.is_file():
                path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="checkpoints-damaged"):
        Checkpoints(tmp_path).restore(like)


def test_other_parameters_are_an_error_and_nothing_is_moved(tmp_path, like):
    saved(tmp_path, [1]).close()
    kernel = like.params["encoder"]["kernel"]
    other = jax.ShapeDtypeStruct((64, 34), kernel.dtype, sharding=kernel.sharding)
    wrong = like._replace(params={"encoder": {**like.params["encoder"], "kernel": other}})
    with pytest.raises(CheckpointError, match="intact but holds other arrays"):
        Checkpoints(tmp_path).restore(wrong)
    assert_same(Checkpoints(tmp_path).restore(like), 1)
