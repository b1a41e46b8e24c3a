"""Classes of images by the functions that a run learnt from labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from maskmim.evals.features import POOLINGS
from maskmim.evals.learnt_labels import LearntLabels, class_names, learnt_labels
from maskmim.inference.encoding import encoded_by
from maskmim.inference.loaded import InferenceError, Loaded
from maskmim.types import Array, Tree


class Classified(NamedTuple):
    """What a model says about the classes of N images.

    probabilities: f32[N, C], of the classes of each image (rows sum to 1), or of C labels that are
                   there or not, each by itself.
    names:         of the columns; their numbers where the labelled images of the run are not here
                   to name them.
    """

    probabilities: np.ndarray
    names: tuple[str, ...]

    @property
    def likeliest(self) -> tuple[str, ...]:
        """The name of the likeliest column of each image."""
        return tuple(self.names[column] for column in self.probabilities.argmax(axis=1))


def learnt_by(loaded: Loaded, objective: str | None) -> tuple[str, LearntLabels]:
    """Return the name of an objective that learns from labels, and what it learns.

    objective: None for the only one. Raises InferenceError for another name, for a run without any,
    and where there are several and none is named.
    """
    if not loaded.workdir:
        raise InferenceError(
            f"{loaded.title} gives its encoder alone, without a classifier: load the run itself, "
            "or use the library that the file is for"
        )
    learnt = learnt_labels(loaded.config)
    if not learnt:
        raise InferenceError(
            f"{loaded.title} was trained without labels and has no classifier: fine-tune it "
            "(python -m maskmim.train --config finetune:begin=RUN) and load that run"
        )
    known = ", ".join(map(repr, learnt))
    if objective is None and len(learnt) > 1:
        raise InferenceError(
            f"several objectives learn from labels: give objective= one of {known}"
        )
    name = next(iter(learnt)) if objective is None else objective
    if name not in learnt:
        raise InferenceError(f"objective={name!r}: those that learn from labels are {known}")
    return name, learnt[name]


def probabilities_by(loaded: Loaded, learnt: LearntLabels) -> Callable[..., Array]:
    """Return (variables, arrays) -> f32[B, C], the probabilities of what an objective learns."""
    encode, pool = encoded_by(loaded), POOLINGS[learnt.pooling]
    method, logits_of = loaded.method, loaded.method.net.calls[learnt.call]
    squash = jax.nn.sigmoid if learnt.several else jax.nn.softmax

    def run(variables: Tree, arrays: Mapping[str, Array]) -> Array:
        params = method.evaluated(variables).params
        return squash(logits_of(params, pool(encode(variables, arrays))))

    return run


def names_of(loaded: Loaded, learnt: LearntLabels, count: int) -> tuple[str, ...]:
    """Return the names of the columns of `Classified.probabilities`."""
    if learnt.several:
        return learnt.labels
    return class_names(loaded.config, *learnt.labels, count) or tuple(map(str, range(count)))
