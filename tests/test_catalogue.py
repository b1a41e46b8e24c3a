"""Every config with `:tiny` builds, and its step trains what it should."""

import math
from pathlib import Path

import jax
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.planning.cost import batch_shapes
from maskmim.training.build import assemble, born_sharded, build_method, jitted_step
from maskmim.training.sharding import put
from maskmim.tree_paths import named_leaves
from tests.running import ROOT

TINY = sorted(path.name for path in (ROOT / "configs").glob("*.py") if "tiny" in path.read_text())
OTHERS = [
    "cae.py:target=pixels",
    "colormae.py:mask=bank",
    "vqgan.py:adversarial=False",
    "simmim.py:model=swin",
    "videomae.py:dual",
]
FULL = ["configs/mae.py", "configs/mae.py:variant=H/14,epochs=1600", "configs/colormae.py"]


def random(rng, shape):
    """An array as the pipeline makes it, of random values."""
    if shape.dtype == np.uint8:
        return rng.integers(0, 256, shape.shape, np.uint8)
    return rng.standard_normal(shape.shape).astype(shape.dtype)


@pytest.mark.parametrize(
    "name", [*TINY, *(pytest.param(o, marks=pytest.mark.slow) for o in OTHERS)]
)
def test_three_tiny_steps(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    file, _, argument = name.partition(":")
    config = load(f"configs/{file}:{','.join(filter(None, ['tiny', argument]))}")
    parts = assemble(config, 296)
    state, frozen = born_sharded(parts, config.seed)
    before = jax.tree.map(np.asarray, (state.params, frozen))
    step = jitted_step(config, parts)
    rng = np.random.default_rng(0)
    for _ in range(3):
        shapes = batch_shapes(config, config.train.batch_size)
        batch = {name: put(random(rng, shape), parts.mesh) for name, shape in shapes.items()}
        state, metrics = step(state, frozen, batch)
        assert all(math.isfinite(float(value)) for value in metrics.values()), metrics
    assert step._cache_size() == 1
    assert int(state.step) == 3 and int(state.bad_steps) == 0
    for (path, old), new in zip(
        named_leaves(before[0]), jax.tree.leaves(state.params), strict=True
    ):
        assert old.shape == new.shape and not np.array_equal(old, new), path
    for (path, old), new in zip(named_leaves(before[1]), jax.tree.leaves(frozen), strict=True):
        np.testing.assert_array_equal(old, new, err_msg=path)


@pytest.mark.parametrize("argument", FULL)
def test_the_published_recipes(argument, monkeypatch):
    """The numbers of the papers, so that nobody changes one unawares."""
    monkeypatch.chdir(ROOT)
    config = load(argument)
    assert (config.train.batch_size, config.optim.lr, config.optim.lr_per) == (4096, 1.5e-4, 256)
    assert (config.optim.b1, config.optim.b2, config.optim.weight_decay) == (0.9, 0.95, 0.05)
    assert config.schedule.warmup_epochs == 40 and config.mask.ratio == 0.75
    assert (config.model.decoder_depth, config.model.decoder_width) == (8, 512)
    _, method = build_method(config)
    grid = (16, 16) if "H/14" in argument else (14, 14)
    assert method.net.grids == {"image": grid}


def test_there_are_configs_to_test():
    assert {"mae.py", "colormae.py"} <= set(TINY)
    assert Path(ROOT / "configs").is_dir()
