"""The number of directions that features use, and how far they spread: signs of collapse."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import Fraction, PositiveInt
from maskmim.evals.features import FeatureError, Unsuitable
from maskmim.evals.measures import Measured
from maskmim.evals.trained import Trained, spread

EPSILON = 1e-7


@facts.measure(needs=("features",))
def effective_rank(
    trained: Trained,
    *,
    images: PositiveInt = 2048,
    least: Fraction = 0.001,
    least_of_start: Fraction = 0.1,
) -> Iterator[Measured]:
    """Yield RankMe, the effective rank of pooled features, without labels.

    images:         at most so many test images, spread evenly; a rank cannot exceed their number
                    (2048: ours, the paper has 25,600). Without test images, of the training data.
    least:          warn below 1 + least * (D - 1), with D the most that the rank can be.
    least_of_start: warn below 1 + least_of_start * (rank - 1) of the start, see `at_start`.
    Yields ('effective_rank', exp of the entropy of the normalised singular values).
    The thresholds are ours: a ViT of 192 dimensions trained by MAE has 9 after 92 steps and 29
    before them; features that are all the same have 1.
    Source: RankMe (arXiv 2210.02885), equations 1 and 2; features are not centred, as there.
    """
    features = checked(trained.features(images))
    rank, most = rank_of(features), min(features.shape)
    start = at_start(trained, "effective_rank", rank_of, images)
    warning = ""
    if trained.step and rank < 1 + least * (most - 1):
        warning = (
            f"the features may have collapsed: their effective rank is {rank:.1f} of at most {most}"
        )
    elif trained.step and start is not None and rank < 1 + least_of_start * (start - 1):
        warning = (
            f"the features may be collapsing: their effective rank is {rank:.1f} of at most "
            f"{most}, after {start:.1f} at first"
        )
    yield Measured("effective_rank", rank, f"rank {rank:.3g} of {most}", explained(warning))


@facts.measure(needs=("features",))
def feature_std(
    trained: Trained,
    *,
    images: PositiveInt = 2048,
    least_of_start: Fraction = 0.1,
    least: Fraction = 0.001,
) -> Iterator[Measured]:
    """Yield the standard deviation of l2-normalised pooled features, without labels.

    images:         as of `effective_rank`.
    least_of_start: warn below least_of_start * the deviation of the start, see `at_start`.
    least:          warn below it where the start is not known (ours: untrained networks have 0.1 to
                    0.7, but 0.01 and less where images are alike or a bias is large).
    Yields ('feature_std', mean over dimensions of the deviation over images, times sqrt(D)): 1 for
    directions that are spread evenly, 0 for features that are all the same.
    Source: SimSiam (arXiv 2011.10566), section 4.1, figure 2.
    """
    features = checked(trained.features(images))
    deviation = deviation_of(features)
    start = at_start(trained, "feature_std", deviation_of, images)
    limit = least if start is None else least_of_start * start
    warning = ""
    if trained.step and deviation < limit:
        since = "" if start is None else f", after {start:.2g} at first"
        warning = (
            "the features may have collapsed: the standard deviation of their directions is "
            f"{deviation:.2g}{since}, where 1 is spread evenly and 0 is one point"
        )
    yield Measured("feature_std", deviation, f"std {deviation:.2g}", explained(warning))


def at_start(
    trained: Trained, metric: str, value_of: Callable[[np.ndarray], float], images: int
) -> float | None:
    """Return a metric of features at the start of the run, None where it is not known.

    That of the run's first evaluation, else of the encoder before training where probes compared
    with it.
    """
    if metric in trained.start:
        return trained.start[metric]
    if trained.untrained is None:
        return None
    return value_of(trained.untrained[spread(len(trained.untrained), images)])


def rank_of(features: np.ndarray) -> float:
    """Return the effective rank of f32[n, D], computed in float64; 1 where all are zero."""
    values = np.linalg.svd(np.asarray(features, np.float64), compute_uv=False)
    total = values.sum()
    if total == 0:
        return 1.0
    shares = values / total + EPSILON
    return float(np.exp(-np.sum(shares * np.log(shares))))


def deviation_of(features: np.ndarray) -> float:
    """Return the mean standard deviation of the directions of f32[n, D], times sqrt(D)."""
    features = np.asarray(features, np.float64)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    directions = features / np.maximum(lengths, 1e-12)
    return float(directions.std(axis=0).mean() * np.sqrt(features.shape[1]))


def checked(features: np.ndarray) -> np.ndarray:
    """Return features; raise Unsuitable for fewer than two rows, FeatureError for NaN."""
    if len(features) < 2:
        raise Unsuitable(
            f"it compares images, and there is only {len(features)}: name a set with more in "
            "evals.test, or raise its `images`"
        )
    if bad := int((~np.isfinite(features)).any(axis=1).sum()):
        raise FeatureError(
            f"the features hold NaN or infinite numbers for {bad} of {len(features)} images: the "
            "parameters may have diverged; evaluate an earlier checkpoint"
        )
    return features


def explained(warning: str) -> str:
    """Return a warning with what to do about it; '' for none."""
    if not warning:
        return ""
    return f"{warning}. Look at the probes and at images/; a lower optim.lr often helps"
