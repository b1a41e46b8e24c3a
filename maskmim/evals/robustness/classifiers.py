"""Classifiers of pooled features for tests beyond `evals.test`: learnt once, on clean images.

A classifier is a brick `(trained, labels, *, ...) -> Classifier`; labels names a set of
`evals.train`. Measures take one as their keyword `classifier`. One that was learnt serves all
measures of an evaluation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.config.parse import ConfigError
from maskmim.config.ranges import NonNegative, OpenFraction, Positive, PositiveInt, Rates, Seed
from maskmim.data.class_lists import check_classes
from maskmim.data.records import Records
from maskmim.errors import count_of
from maskmim.evals import knn as neighbours
from maskmim.evals.features import Split, Unsuitable
from maskmim.evals.label_accuracy import logits_by
from maskmim.evals.linear_probe import fit
from maskmim.evals.probe_optimisers import lars
from maskmim.evals.probe_training import Protocol, logits_of
from maskmim.evals.rate_sweep import Fitted, diverged
from maskmim.evals.trained import Trained

# Images of the bank that kNN compares at a time; it bounds memory and changes no result.
BANK_CHUNK = 16_384


class Classifier(NamedTuple):
    """A function from features to a score of each class.

    labels:  the label set. classes: its names, in the order of the scores.
    pooling: of the features that it reads, a name of `features.POOLINGS`.
    scores:  f32[n, D] -> f32[n, C], the highest is the class.
    title:   for people.
    settled: what decides the scores beside the features, JSON values by name.
    """

    labels: str
    classes: tuple[str, ...]
    pooling: str
    scores: Callable[[np.ndarray], np.ndarray]
    title: str
    settled: Mapping[str, Any] = {}

    def right(self, split: Split, among: Sequence[int] = ()) -> np.ndarray:
        """Return whether each image is classified right, bool[n].

        among: classes that are considered; () for all.
        """
        scores = np.asarray(self.scores(split.features))
        columns = np.asarray(among or range(len(self.classes)))
        return columns[scores[:, columns].argmax(axis=1)] == split.labels[self.labels]


Classify = Callable[[Trained, str], Classifier]


def own_or_linear(trained: Trained, labels: str, *, call: str = "classify") -> Classifier:
    """Return the network's own function of logits if it has one of these classes, else `linear`.

    call: a name of `Net.calls`, as of `own`; its pooling is that of the evaluations.
    """
    has_own = call in trained.method.net.calls and _width_of(trained, call) == len(
        _classes(trained, labels)
    )
    if not has_own:
        return linear(trained, labels)
    return own(trained, labels, call=call, pooling=trained.pooling)


def own(
    trained: Trained,
    labels: str,
    *,
    call: str = "classify",
    pooling: Literal["mean", "class"] = "mean",
) -> Classifier:
    """Return the network's own function of logits, which it learnt while it was trained.

    call, pooling: as of `label_accuracy`.
    Raises ConfigError for a function that does not exist, or of another number of classes.
    """
    calls, classes = trained.method.net.calls, _classes(trained, labels)
    if call not in calls:
        known = ", ".join(sorted(calls)) or "none"
        raise ConfigError(f"the network has no function {call!r}, but {known}: set its `call`")
    if (width := _width_of(trained, call)) != len(classes):
        raise ConfigError(
            f"the function {call!r} tells {width} classes apart, {labels!r} has {len(classes)}"
        )
    run, params = logits_by(calls[call], trained.mesh), trained.evaluated.params
    return Classifier(labels, classes, pooling, lambda f: np.asarray(run(params, f)), f"own {call}")


def linear(
    trained: Trained,
    labels: str,
    *,
    base_lrs: Rates = (0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
    epochs: PositiveInt = 90,
    warmup_epochs: NonNegative = 10.0,
    batch_size: PositiveInt = 16_384,
    least_steps: PositiveInt = 8,
    held_out: OpenFraction = 0.2,
    seed: Seed = 0,
) -> Classifier:
    """Return a linear classifier on features of `evals.train`, trained as `linear_probe`.

    Keywords are those of `linear_probe`. Raises Unsuitable as it does.
    """
    classes = _classes(trained, labels)
    protocol = Protocol(epochs, warmup_epochs, batch_size, least_steps)
    settings = tuple(base_lrs), protocol, held_out, seed
    fitted = _fitted(trained.learnt_from, labels, classes, settings)

    def scores(features: np.ndarray) -> np.ndarray:
        logits = np.asarray(logits_of(fitted.classifiers, labels, features))[0]
        if not np.isfinite(logits).all():
            raise Unsuitable(diverged(fitted.values[labels]))
        return logits

    settled = _learnt(trained) | {
        "classifier.base_lrs": list(base_lrs),
        **{f"classifier.{name}": value for name, value in protocol._asdict().items()},
        "classifier.held_out": held_out,
        "classifier.seed": seed,
    }
    return Classifier(labels, classes, trained.pooling, scores, "linear", settled)


def knn(
    trained: Trained,
    labels: str,
    *,
    k: PositiveInt = 20,
    temperature: Positive = 0.07,
    chunk: PositiveInt = 256,
) -> Classifier:
    """Return the classifier of `evals.knn.knn` on features of `evals.train`.

    k, temperature: as there. chunk: images compared at a time; it changes no result.
    Raises Unsuitable for fewer than k training images.
    """
    classes, bank = _classes(trained, labels), trained.learnt_from()
    if k > len(bank.features):
        raise Unsuitable(f"kNN with k = {k} needs as many images, there are {len(bank.features)}")

    def scores(features: np.ndarray) -> np.ndarray:
        part = min(BANK_CHUNK, len(bank.features))
        nearest = neighbours.neighbours(
            bank.features, features, k=k, query_chunk=chunk, bank_chunk=part
        )
        counted = neighbours.votes(
            *nearest,
            bank.labels[labels],
            temperature=temperature,
            classes=len(classes),
            chunk=chunk,
        )
        return np.asarray(counted)

    settled = _learnt(trained) | {"classifier.temperature": temperature}
    return Classifier(labels, classes, trained.pooling, scores, f"{k}-NN", settled)


def _learnt(trained: Trained) -> dict[str, Any]:
    return {"evals.train": images_of(trained.train.records)}


def images_of(records: Records) -> str:
    """Return which images some records are: their number and the start of their fingerprint."""
    return f"{count_of(len(records), 'image')}, fingerprint {records.fingerprint[:12]}"


def label_set(trained: Trained, wanted: str) -> str:
    """Return the label set of a name; that with the most classes for ''.

    Raises ConfigError where `evals.train` has none of the name, Unsuitable where it has no labels,
    and DataError where its classes are not those of `evals.test`.
    """
    known = {} if trained.train is None else trained.train.records.labels
    if not known:
        raise Unsuitable("evals.train names no labelled images: a classifier needs some")
    if wanted and wanted not in known:
        raise ConfigError(f"evals.train has no labels {wanted!r}, but {', '.join(sorted(known))}")
    chosen = wanted or max(sorted(known), key=lambda name: len(known[name]))
    if trained.test is not None and chosen in trained.test.records.labels:
        check_classes(trained.train.records, trained.test.records, only=(chosen,))
    return chosen


def _classes(trained: Trained, labels: str) -> tuple[str, ...]:
    return tuple(trained.train.records.labels[label_set(trained, labels)])


def _width_of(trained: Trained, call: str) -> int:
    """Return the number of classes of a function of logits, by its shape alone."""
    features = jax.ShapeDtypeStruct((1, trained.method.net.width), jnp.float32)
    run = trained.method.net.calls[call]
    return jax.eval_shape(run, trained.evaluated.params, features).shape[-1]


@functools.lru_cache(maxsize=2)
def _fitted(
    learnt_from: Callable[[], Split],
    labels: str,
    classes: tuple[str, ...],
    settings: tuple[tuple[float, ...], Protocol, float, int],
) -> Fitted:
    """Train the probe of one label set; once for the measures of an evaluation.

    learnt_from: `Trained.learnt_from`, one object for each evaluation.
    """
    features, known = learnt_from()
    base_lrs, protocol, held_out, seed = settings
    split = Split(features, {labels: known[labels]})
    return fit(split, {labels: classes}, lars, base_lrs, protocol, held_out, seed)
