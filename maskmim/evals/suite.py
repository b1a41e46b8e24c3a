"""All probes on all encoders, with features computed once."""

from __future__ import annotations

import contextlib
import functools
import inspect
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from maskmim.config.describe import title
from maskmim.config.facts import bound_keywords, facts_of, function_of
from maskmim.evals.failures import noted
from maskmim.evals.features import Encode, Features, Split, Unsuitable, extract_all
from maskmim.evals.report import Results, build_results
from maskmim.evals.stored_scores import stored_or
from maskmim.runtime import activity

Evaluator = Callable[[Features], Iterator[tuple[str, float]]]
Batches = Callable[[], Iterable[Mapping]]


def run_probes(
    encoders: Mapping[str, Encode],
    train_batches: Batches,
    test_batches: Batches,
    classes: Mapping[str, tuple[str, ...]],
    evaluators: Mapping[str, Evaluator],
    *,
    seen: dict[str, tuple[Split, Split]] | None = None,
    stored: Collection[str] = (),
) -> Results:
    """Run every evaluator on the features of every encoder; see report.build_results.

    encoders:   {name: encode}, {name: [b, ...]} -> f32[b, D] of the arrays of a batch, in the order
                of the table's rows.
    train_batches, test_batches: each called once for one pass over the images; for the batches see
                features.extract_all.
    classes:    {label set: names}, {} for images without labels: evaluators with `needs_labels`
                are then skipped, with a sentence in the results; no image is read where none is
                left.
    evaluators: {name: brick bound to its hyperparameters}, Features -> (metric, value) pairs.
    seen:       a dict that takes in {encoder: (train, test)}, where any features are computed.
    stored:     encoders whose scores are taken from earlier evaluations of the same features, see
                `stored_scores`.
    Skips an evaluator that raises Unsuitable for any encoder. One that fails otherwise leaves the
    others, and is in 'failed', {evaluator: why}.
    """
    skipped = {} if classes else _skip_labelled(evaluators)
    active = {name: brick for name, brick in evaluators.items() if name not in skipped}
    seconds: dict[str, float] = {}
    failed: dict[str, str] = {}
    with _timed(seconds, "features"):
        splits = _extract_both(encoders, train_batches, test_batches) if active else {}
    if seen is not None:
        seen.update(splits)
    metrics: dict[str, dict[str, float]] = {name: {} for name in encoders}
    for name, brick in active.items():
        scores: dict[str, dict[str, float]] = {}
        with _timed(seconds, name), noted(failed, name):
            try:
                scores = _scores(name, brick, splits, classes, stored)
            except Unsuitable as reason:
                skipped[name] = str(reason)
        for encoder, values in scores.items():
            metrics[encoder].update(values)
    any_train, any_test = next(iter(splits.values()), (None, None))
    return build_results(
        metrics,
        dimensions={e: splits[e][0].features.shape[1] if splits else 0 for e in encoders},
        classes={name: len(names) for name, names in classes.items()},
        train_images=len(any_train.features) if any_train else 0,
        test_images=len(any_test.features) if any_test else 0,
        evaluators={name: brick_protocol(brick) for name, brick in evaluators.items()},
        skipped=skipped,
        failed=failed,
        seconds=seconds,
    )


def _skip_labelled(evaluators: Mapping[str, Evaluator]) -> dict[str, str]:
    sentence = "these images have no labels; name a labelled set in evals.train and evals.test"
    return {name: sentence for name, brick in evaluators.items() if facts_of(brick).needs_labels}


def _extract_both(
    encoders: Mapping[str, Encode],
    train: Batches,
    test: Batches,
) -> dict[str, tuple[Split, Split]]:
    with activity.during("features of the training images"):
        train_splits = extract_all(encoders, train())
    with activity.during("features of the test images"):
        test_splits = extract_all(encoders, test())
    return {name: (train_splits[name], test_splits[name]) for name in encoders}


def _scores(
    name: str,
    brick: Evaluator,
    splits: Mapping[str, tuple[Split, Split]],
    classes: Mapping[str, tuple[str, ...]],
    stored: Collection[str],
) -> dict[str, dict[str, float]]:
    """Return the metrics of an evaluator on the features of each encoder."""
    protocol, scores = brick_protocol(brick), {}
    for encoder, pair in splits.items():
        features = Features.of(*pair, classes)
        with activity.during(f"{name} of {encoder}"):
            if encoder in stored:
                compute = functools.partial(_computed, brick, features)
                scores[encoder] = stored_or(compute, protocol, features)
            else:
                scores[encoder] = _computed(brick, features)
    return scores


def _computed(brick: Evaluator, features: Features) -> dict[str, float]:
    return dict(brick(features))


def brick_protocol(brick: Callable) -> dict[str, Any]:
    """Return a brick's dotted path and its hyperparameters, including defaults, as JSON values."""
    function = function_of(brick)
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    values = {**defaults, **bound_keywords(brick)}
    keywords = {name: _to_plain(value) for name, value in values.items()}
    return {"brick": f"{function.__module__}.{function.__qualname__}", "keywords": keywords}


def _to_plain(value: Any) -> Any:
    if callable(value):
        return title(value)
    if isinstance(value, (tuple, list)):
        return [_to_plain(item) for item in value]
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
