"""The classifier that a run has learned, for libraries that have such a layer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from maskmim.config.bricks import resolve
from maskmim.evals.learnt_labels import class_names, learnt_labels
from maskmim.exports.subject import Subject
from maskmim.interop.layout import Arrays
from maskmim.models.classifiers import linear, normed_linear


class Norm(NamedTuple):
    """A LayerNorm of pooled features: f32[D] twice, and its epsilon."""

    scale: np.ndarray
    bias: np.ndarray
    epsilon: float


class Classifier(NamedTuple):
    """A linear layer on pooled features.

    call:    its name in `config.calls`. pooling: 'mean' of the patch tokens, or 'class'.
    kernel:  f32[D, C]. bias: f32[C]. norm: of the pooled features, None for none.
    names:   of the classes, () where the images of the run cannot be read.
    """

    call: str
    pooling: str
    kernel: np.ndarray
    bias: np.ndarray
    norm: Norm | None
    names: tuple[str, ...]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.kernel.shape[1]

    @property
    def titles(self) -> tuple[str, ...]:
        """The names of the classes; their numbers where names are not known."""
        return self.names or tuple(map(str, range(self.classes)))

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences for people about names that are missing."""
        missing = "Classes are numbers: the labelled images of the run are not here to name them."
        return () if self.names else (missing,)

    def linear(self, name: str) -> Arrays:
        """Return the arrays of the linear layer under a name, as torch has them."""
        return {f"{name}.weight": np.ascontiguousarray(self.kernel.T), f"{name}.bias": self.bias}


def classifier_of(subject: Subject) -> Classifier | None:
    """Return the classifier of a run; None for one without, with several, or with another kind."""
    config = subject.config
    terms = list(learnt_labels(config).values())
    if len(terms) != 1 or terms[0].several:
        return None
    (term,) = terms
    section, params = config.calls[term.call], subject.params[term.call]
    kind = resolve(section.brick)
    if kind not in (linear, normed_linear):
        return None
    norm = None
    if kind is normed_linear:
        norm = Norm(params["norm"]["scale"], params["norm"]["bias"], float(section.norm_eps))
    kernel, bias = params["kernel"], params["bias"]
    names = class_names(config, *term.labels, kernel.shape[1])
    return Classifier(term.call, term.pooling, kernel, bias, norm, names)
