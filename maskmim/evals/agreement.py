"""How alike the features of a student and of its averaged weights are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import PositiveInt
from maskmim.evals.measures import Measured
from maskmim.evals.trained import Trained
from maskmim.types import Tree


@facts.measure(needs=("features", "student"))
def agreement(trained: Trained, *, images: PositiveInt = 2048) -> Iterator[Measured]:
    """Yield the mean cosine of a student's pooled features and those of its averaged weights.

    images: at most so many test images, spread evenly (ours); of the training data without.
    Yields ('teacher_agreement', mean over images, in [-1, 1]); nothing where both have the same
    weights, as before training, and always for a teacher that copies the student.
    The pair is `apply['encode_student']` and `apply['encode']`; or, for methods whose encoder is
    the student, 'encode' with the params and with those that a teacher averages, see `averaged`.
    """
    method, variables = trained.method, trained.variables
    if "encode_student" in method.apply:
        encode = method.apply["encode_student"]
    else:
        encode = method.apply["encode"]
        average = averaged(variables.params, variables.extra)
        if _are_equal(average, variables.params):
            return
        variables = variables._replace(params=average)
    others = trained.features_by(encode, variables, trained.images.batches(images))
    value = mean_cosine(trained.features(images), others.features)
    yield Measured("teacher_agreement", value, f"teacher agreement {value:.3f}")


def averaged(params: Tree, extra: Tree) -> Tree | None:
    """Return params with those that a teacher averages in their place; None where there are none.

    An average is an entry of `extra` that repeats the encoder's parameters, path by path and shape
    by shape, as `teachers.average` keeps it.
    """
    if not isinstance(params, Mapping) or not isinstance(extra, Mapping):
        return None
    for entry in extra.values():
        if isinstance(entry, Mapping) and _repeats(params, entry):
            return {**params, **entry}
    return None


def _repeats(params: Mapping[str, Tree], entry: Mapping[str, Tree]) -> bool:
    if "encoder" not in entry or not set(entry) <= set(params):
        return False
    same = {name: params[name] for name in entry}
    if jax.tree.structure(same) != jax.tree.structure(dict(entry)):
        return False
    pairs = zip(jax.tree.leaves(same), jax.tree.leaves(dict(entry)), strict=True)
    return all(a.shape == b.shape for a, b in pairs)


def _are_equal(one: Tree, other: Tree) -> bool:
    """Return whether two trees of the same structure hold the same values."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(a is b or bool(jnp.array_equal(a, b)) for a, b in pairs)


def mean_cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean cosine of the rows of two f32[n, D]; a row of zeros has cosine 0."""
    first, second = (np.asarray(rows, np.float64) for rows in (first, second))
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(np.mean(np.sum(first * second, axis=1) / np.maximum(lengths, 1e-12)))
