"""All probes of all encoders: features once, then every evaluator on them."""

from __future__ import annotations

import contextlib
import functools
import inspect
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from maskmim.config.describe import title
from maskmim.evals.features import Encode, Features, Split, Unsuitable, extract_each
from maskmim.evals.report import Results, results_structure

Evaluator = Callable[[Features], Iterator[tuple[str, float]]]
Batches = Callable[[], Iterable[Mapping]]


def run_probes(
    encoders: Mapping[str, Encode],
    train_batches: Batches,
    test_batches: Batches,
    classes: Mapping[str, tuple[str, ...]],
    evaluators: Mapping[str, Evaluator],
    *,
    stream: str = "image",
    say: Callable[[str], None] = lambda line: None,
) -> Results:
    """Runs every evaluator on the features of every encoder; see report.results_structure.

    encoders:   {name: encode}, [b, *size, C] -> f32[b, D], in the order of the table's rows.
    train_batches, test_batches: called once each for one pass over the images; for the batches see
                features.extract_each.
    classes:    {label set: names}, {} for images without labels: evaluators marked `needs_labels`
                are then skipped, with a sentence in the results, and images are not even read where
                no evaluator is left.
    evaluators: {name: brick bound to its hyperparameters}, Features -> (metric, value) pairs.
    stream:     what batches call the examples, see types.Spec.
    say:        gets short lines on what is being done.
    An evaluator that raises Unsuitable is skipped too, with its metrics of all encoders.
    """
    skipped = {} if classes else _skip_labelled(evaluators)
    wanted = {name: brick for name, brick in evaluators.items() if name not in skipped}
    seconds: dict[str, float] = {}
    with _timed(seconds, "features"):
        splits = _both(encoders, train_batches, test_batches, stream, say) if wanted else {}
    metrics: dict[str, dict[str, float]] = {name: {} for name in encoders}
    for name, brick in wanted.items():
        say(f"{name} of {', '.join(splits)}")
        with _timed(seconds, name):
            try:
                found = {e: dict(brick(Features.of(*pair, classes))) for e, pair in splits.items()}
            except Unsuitable as reason:
                skipped[name] = str(reason)
                continue
        for encoder, values in found.items():
            metrics[encoder].update(values)
    some_train, some_test = next(iter(splits.values()), (None, None))
    return results_structure(
        metrics,
        dimensions={e: splits[e][0].features.shape[1] if splits else 0 for e in encoders},
        classes={name: len(names) for name, names in classes.items()},
        train_images=len(some_train.features) if some_train else 0,
        test_images=len(some_test.features) if some_test else 0,
        evaluators={name: protocol_of(brick) for name, brick in evaluators.items()},
        skipped=skipped,
        seconds=seconds,
    )


def _skip_labelled(evaluators: Mapping[str, Evaluator]) -> dict[str, str]:
    sentence = "these images have no labels; name a labelled set in evals.train and evals.test"
    return {
        name: sentence
        for name, brick in evaluators.items()
        if getattr(_function(brick), "needs_labels", False)
    }


def _both(
    encoders: Mapping[str, Encode],
    train: Batches,
    test: Batches,
    stream: str,
    say: Callable[[str], None],
) -> dict[str, tuple[Split, Split]]:
    say(f"features of the training images by {', '.join(encoders)}")
    of_train = extract_each(encoders, train(), stream=stream)
    say(f"features of the test images by {', '.join(encoders)}")
    of_test = extract_each(encoders, test(), stream=stream)
    return {name: (of_train[name], of_test[name]) for name in encoders}


def protocol_of(brick: Callable) -> dict[str, Any]:
    """A brick's dotted path and its hyperparameters, defaults included, as JSON values."""
    function = _function(brick)
    bound = dict(brick.keywords) if isinstance(brick, functools.partial) else {}
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    keywords = {name: _plain(value) for name, value in {**defaults, **bound}.items()}
    return {"brick": f"{function.__module__}.{function.__qualname__}", "keywords": keywords}


def _function(brick: Callable) -> Callable:
    return brick.func if isinstance(brick, functools.partial) else brick


def _plain(value: Any) -> Any:
    if callable(value):
        return title(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
