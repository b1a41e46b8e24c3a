"""LiDAR: the effective rank of what tells images apart, over augmented copies of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import MOST_INT, Limits, Positive
from maskmim.evals.effective_rank import EPSILON
from maskmim.evals.features import Unsuitable
from maskmim.evals.measures import Measured
from maskmim.evals.trained import Trained
from maskmim.types import Spec

AtLeastTwo = Annotated[int, Limits(2, MOST_INT)]


@facts.measure(needs=("features",))
def lidar(
    trained: Trained,
    *,
    images: AtLeastTwo = 500,
    copies: AtLeastTwo = 10,
    delta: Positive = 1e-4,
) -> Iterator[Measured]:
    """Yield LiDAR, the effective rank of linear discriminants with each image as a class.

    images: at most so many test images, spread evenly; of the training data without. copies: crops
    of each by the training augmentation, always the same ones. Both are ours: the encoder works on
    images * copies pictures, each decoded, which costs more than the other measures, so that
    `evals.monitors` does not name it.
    delta:  added to the diagonal of the covariance within images (1e-4, as the paper).
    Yields ('lidar', exp of the entropy of the normalised eigenvalues), at most images - 1.
    Raises Unsuitable where the augmentation makes no crop of the input's size.
    Source: LiDAR (arXiv 2312.04000), section 4, on the features that probes see. An unreadable
    image is left out with all its copies.
    """
    source = trained.images
    batches = source.batches(images, augmented=True, copies=copies)
    valid: list[np.ndarray] = []
    crops = (_as_input(batch, trained.spec, valid) for batch in batches)
    encode = trained.method.apply["encode"]
    features = trained.features_by(encode, trained.variables, crops).features
    count = min(images, len(source.records))
    whole = np.concatenate(valid)[: count * copies].reshape(count, copies)
    if whole.all(axis=1).sum() < 2:
        raise Unsuitable("it compares images, and fewer than two can be read")
    rows = np.full(whole.size, -1)
    rows[whole.reshape(-1)] = np.arange(len(features))
    groups = features[rows.reshape(whole.shape)[whole.all(axis=1)]]
    value = lidar_of(groups, delta=delta)
    yield Measured("lidar", value, f"LiDAR {value:.3g} of {min(len(groups) - 1, groups.shape[-1])}")


def _as_input(batch: Mapping[str, Any], spec: Spec, valid: list[np.ndarray]) -> dict[str, Any]:
    """Return a batch with the input's stream: of several crops of its size, the first.

    valid: a list to add the batch's 'valid' to.
    """
    valid.append(np.asarray(batch["valid"], bool))
    if spec.stream in batch:
        return dict(batch)
    for array in batch.values():
        if getattr(array, "shape", ())[2:] == spec.shape:
            return {**batch, spec.stream: array[:, 0]}
    raise Unsuitable(f"the training augmentation makes no crop of shape {spec.shape}")


def lidar_of(groups: np.ndarray, *, delta: float) -> float:
    """Return LiDAR of features f32[n, q, D], q copies of n images, computed in float64."""
    groups = np.asarray(groups, np.float64)
    means = groups.mean(axis=1)
    inner = (groups - means[:, None]).reshape(-1, groups.shape[-1])
    outer = means - means.mean(axis=0)
    within = inner.T @ inner / len(inner) + delta * np.eye(groups.shape[-1])
    # With within = L L^T, the squares of the singular values of outer L^-T are the eigenvalues of
    # within^-1/2 between within^-1/2.
    whitened = np.linalg.solve(np.linalg.cholesky(within), outer.T)
    values = np.linalg.svd(whitened, compute_uv=False) ** 2 / len(means)
    total = values.sum()
    if total == 0:
        return 1.0
    shares = values / total + EPSILON
    return float(np.exp(-np.sum(shares * np.log(shares))))
