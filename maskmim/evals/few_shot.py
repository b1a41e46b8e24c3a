"""Accuracy from a few labelled images, by logistic regression on random draws of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import NonNegativeInt, Positive, PositiveFraction, PositiveInt
from maskmim.evals.features import Features
from maskmim.evals.logistic import Standardised, fit, score
from maskmim.evals.rate_sweep import check_measurable

# Fits are padded to this size, or to a larger power of two, so that settings and draws share
# compiled programs: compiling one takes 2 s of a CPU, a fit of this size and 192 features 0.07 s.
LEAST_ROWS = 1024


@facts.probe(needs_labels=True)
def few_shot(
    features: Features,
    *,
    shots: tuple[PositiveInt, ...] = (1, 5, 10),
    shares: tuple[PositiveFraction, ...] = (0.01, 0.1),
    draws: PositiveInt = 5,
    penalty: Positive = 1.0,
    most_steps: PositiveInt = 500,
    seed: NonNegativeInt = 0,
) -> Iterator[tuple[str, float]]:
    """Yield the mean top-1 of logistic regression on a few training images, and its spread.

    shots:   images of each class; a class with fewer gives all that it has.
    shares:  parts of the training split, drawn without regard to the classes, at least one image.
             A class of which none is drawn is never predicted.
    draws:   of each setting. Which images a draw takes depends on the seed, the label set, the
             setting and the number of the draw, by name, so that no other setting changes it.
    penalty, most_steps: see `logistic.fit`.
    Features are standardised by the drawn images.
    Yields ('few_shot_<shots>/<label set>/top1', mean over draws, in [0, 1]), ('.../spread', the
    standard deviation over draws, 0 for one) and the same as 'few_shot_<percent>_percent/...' of
    shares.
    Raises Unsuitable where labels or test images are missing.
    Source of the settings: 1, 5 and 10 images a class as MSN (arXiv 2204.07141) and 1 % and 10 %
    of the training set as SimCLR (arXiv 2002.05709) have them. The penalty, that of scikit-learn by
    default, the standardisation and five draws are ours.
    """
    check_measurable(features, "few-shot probe")
    for name in features.classes:
        labels = features.train.labels[name]
        for shot in shots:
            sets = (images_of_each(labels, shot, f"{seed}/{name}/{shot}/{d}") for d in range(draws))
            yield from _summary(features, name, f"few_shot_{shot}", sets, penalty, most_steps)
        for share in shares:
            sets = (share_of(labels, share, f"{seed}/{name}/{share}/{d}") for d in range(draws))
            title = f"few_shot_{100 * share:g}_percent"
            yield from _summary(features, name, title, sets, penalty, most_steps)


def images_of_each(labels: np.ndarray, count: int, draw: str) -> np.ndarray:
    """Return the indices of `count` random images of each class, or of all that it has, ascending.

    draw: names the random numbers.
    """
    shuffled = generator(draw).permutation(len(labels))
    ordered = shuffled[np.argsort(labels[shuffled], kind="stable")]
    first = np.searchsorted(labels[ordered], labels[ordered])
    return np.sort(ordered[np.arange(len(labels)) - first < count])


def share_of(labels: np.ndarray, share: float, draw: str) -> np.ndarray:
    """Return the indices of a random share of the images, at least one, ascending."""
    size = max(1, round(share * len(labels)))
    return np.sort(generator(draw).permutation(len(labels))[:size])


def padded_size(count: int) -> int:
    """Return the rows of a fit of `count` images: the next power of two, at least LEAST_ROWS."""
    return max(LEAST_ROWS, 1 << (count - 1).bit_length())


def generator(name: str) -> np.random.Generator:
    """Return the random numbers of a name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def _summary(
    features: Features,
    name: str,
    title: str,
    sets: Iterator[np.ndarray],
    penalty: float,
    most_steps: int,
) -> Iterator[tuple[str, float]]:
    train, test, classes = features
    scores = []
    for rows in sets:
        scale = Standardised.of(train.features[rows])
        padding = padded_size(len(rows)) - len(rows)
        fitted = fit(
            np.pad(scale(train.features[rows]), ((0, padding), (0, 0))),
            np.pad(train.labels[name][rows], (0, padding)),
            jnp.float32(penalty),
            np.pad(np.ones(len(rows), bool), (0, padding)),
            classes=len(classes[name]),
            most_steps=most_steps,
        )
        scores.append(score(fitted.layer, scale(test.features), test.labels[name]))
    yield f"{title}/{name}/top1", float(np.mean(scores))
    yield f"{title}/{name}/spread", float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0
