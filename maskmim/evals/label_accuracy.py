"""The accuracy of the method's own classifier, which it learns while it is trained."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Literal

import jax
import numpy as np
from jax.sharding import Mesh

from maskmim.config import facts
from maskmim.config.parse import ConfigError
from maskmim.config.ranges import PositiveInt
from maskmim.evals.features import Unsuitable
from maskmim.evals.measures import Measured
from maskmim.evals.report import standard_error
from maskmim.evals.trained import Trained
from maskmim.objectives.soft_labels import MOST_GUESSES
from maskmim.training import sharding
from maskmim.types import Array

# With fewer classes, five random guesses contain the right one for more than half of the images.
LEAST_CLASSES = 10


@facts.measure(needs=("features", "labels"))
def label_accuracy(
    trained: Trained,
    *,
    labels: str,
    call: str = "classify",
    pooling: Literal["mean", "class"] = "mean",
    images: PositiveInt = 1_000_000,
) -> Iterator[Measured]:
    """Yield the accuracy of the network's function of logits on whole test images.

    labels:  the set of labels. call: a name of `Net.calls`. pooling: of the features that it gets.
             As of `objectives.label`, which trains it on visible tokens.
    images:  at most so many test images, spread evenly; by default all.
    Yields ('label_accuracy/<labels>', share of correct images in [0, 1]), '.../standard_error' of
    that share over the test images, and '.../top5', of 10 classes or more: the share of images
    whose class is among the five likeliest. Images without a class (-1) do not count.
    Raises ConfigError for a function, a label set or classes that do not exist, Unsuitable for a
    network without any function.
    """
    calls, source = trained.method.net.calls, trained.test
    if call not in calls:
        problem = ConfigError if calls else Unsuitable
        raise problem(
            f"the network has no function {call!r}, but {', '.join(sorted(calls)) or 'none'}: add "
            f"a brick config.calls.{call}, or set its `call`"
        )
    if labels not in source.records.labels:
        known = ", ".join(sorted(source.records.labels))
        raise ConfigError(f"evals.test has no labels {labels!r}, but {known}: set its `labels`")
    split = trained._replace(pooling=pooling).features_by(
        trained.method.apply["encode"], trained.variables, source.batches(images)
    )
    logits = logits_by(calls[call], trained.mesh)(trained.evaluated.params, split.features)
    logits, classes = np.asarray(logits), split.labels[labels]
    share, name = accuracy(logits, classes), f"label_accuracy/{labels}"
    error = standard_error(share, np.count_nonzero(classes >= 0))
    text = f"{labels} {100 * share:.1f} ± {100 * error:.1f} %"
    if logits.shape[-1] < LEAST_CLASSES:
        yield Measured(name, share, text)
    else:
        top5 = accuracy(logits, classes, guesses=MOST_GUESSES)
        yield Measured(name, share, f"{text}, top-5 {100 * top5:.1f} %")
        yield Measured(f"{name}/top5", top5, "")
    yield Measured(f"{name}/standard_error", error, "")


def accuracy(logits: np.ndarray, classes: np.ndarray, *, guesses: int = 1) -> float:
    """Return the share of f32[n, C] with the class i32[n] among the `guesses` highest logits.

    Images without a class (-1) do not count. Raises Unsuitable where no image has a class,
    ConfigError where one has a class beyond C.
    """
    known = classes >= 0
    if not known.any():
        raise Unsuitable("no test image has a class")
    if classes.max() >= logits.shape[-1]:
        raise ConfigError(
            f"the function tells {logits.shape[-1]} classes apart, the test images have "
            f"{classes.max() + 1}"
        )
    likeliest = np.argsort(-logits[known], axis=-1, kind="stable")[:, :guesses]
    return float(np.mean(np.any(likeliest == classes[known, None], axis=-1)))


@functools.lru_cache(maxsize=4)
def logits_by(call: Callable[..., Array], mesh: Mesh) -> Callable[..., Array]:
    """Return a function of `Net.calls` jitted, (params, features) -> logits on every device."""
    return jax.jit(call, out_shardings=sharding.replicated(mesh))
