"""Runs to export, without training: the networks of configs with random parameters."""

import jax
import numpy as np

from maskmim.config import load
from maskmim.exports.subject import Subject, exact_method
from maskmim.tree_paths import leaf_path
from tests.compiling import quick_jit

EXAMPLES = 2


def subject_of(name: str, *overrides: str, seed: int = 0) -> Subject:
    """Build the network of a config; every parameter is random, norms, biases and factors too."""
    config = load(name, list(overrides))
    spec, method = exact_method(config)
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        noise = rng.normal(0, 0.2, leaf.shape).astype(np.float32)
        is_factor = "scale" in leaf_path(path)
        return 1 + noise if is_factor else noise

    params = jax.tree.map_with_path(draw, jax.eval_shape(method.net.init, jax.random.key(0)))
    return Subject(config, spec, method.net, params, "trained", True, 5, {}, {}, method.does)


def inputs_of(subject: Subject, seed: int = 1) -> np.ndarray:
    """Return normalised inputs f32[EXAMPLES, ..., C]."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(EXAMPLES, *subject.spec.shape)).astype(np.float32)


def encode(subject: Subject, inputs: np.ndarray):
    """Return the encoder's prefix and tokens, f32, of normalised inputs."""
    run = quick_jit(lambda params, x: subject.net.encode(params, x, None)[:2])
    return tuple(np.asarray(part) for part in run(subject.params, inputs))


def difference(ours, theirs) -> float:
    """Return the largest difference over the largest value of theirs."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
