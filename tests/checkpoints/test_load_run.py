"""Loading a run from its folder: its newest weights and its method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.checkpoints.load_run import load_trained
from maskmim.checkpoints.workdir import save_config
from maskmim.checkpoints.writer import Checkpoints
from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.config.serialize import to_json
from maskmim.training.build import assemble, init_sharded
from tests.running import ROOT


def test_the_newest_weights_of_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load("configs/hpm.py:tiny")
    parts = assemble(config, 296)
    state, _ = init_sharded(parts, 5)
    save_config(tmp_path, config)
    with pytest.raises(ConfigError, match="no checkpoint yet"):
        load_trained(tmp_path)
    newest = state._replace(params=jax.tree.map(lambda x: x + 1, state.params))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, state, {}, to_json(config))
    checkpoints.save(8, newest, {}, to_json(config))
    checkpoints.close()
    run = load_trained(tmp_path)
    assert run.step == 8 and run.spec == parts.spec and run.variables.frozen == ()
    jax.tree.map(np.testing.assert_array_equal, run.variables.params, newest.params)
    jax.tree.map(np.testing.assert_array_equal, run.variables.extra, state.extra)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(run.variables))
    batch = {"image": np.zeros((2, *run.spec.shape), np.uint8)}
    assert run.method.apply["encode"](run.variables, batch).tokens.shape[0] == 2


def test_reading_under_a_trace_leaves_the_checkpoints_where_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load("configs/mae.py:tiny")
    state, _ = init_sharded(assemble(config, 296), 5)
    save_config(tmp_path, config)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, state, {}, to_json(config))
    checkpoints.close()
    shapes = jax.eval_shape(lambda: load_trained(tmp_path).variables.params)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, state.params)
    assert not (tmp_path / "checkpoints-damaged").exists()


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(ConfigError, match="holds no run"):
        load_trained(tmp_path)
