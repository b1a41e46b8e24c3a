"""How alike the blocks of two encoders are: linear CKA on the same images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import jax
import numpy as np

from maskmim.checkpoints.load_run import load_trained
from maskmim.config import facts
from maskmim.config.parse import ConfigError
from maskmim.config.ranges import MOST_INT, Limits, NonNegativeInt
from maskmim.evals.captured import block_features, chosen_blocks
from maskmim.evals.features import Split, Unsuitable
from maskmim.evals.measures import Measured
from maskmim.evals.trained import Trained
from maskmim.reporting.analysis_figures import draw_similarities
from maskmim.training.sharding import replicated

# The estimate divides by n - 3.
AtLeastFour = Annotated[int, Limits(4, MOST_INT)]


@facts.measure(needs=("features",))
def cka(
    trained: Trained,
    *,
    workdir: str = "",
    step: NonNegativeInt = 0,
    images: AtLeastFour = 1024,
) -> Iterator[Measured]:
    """Yield the linear CKA of each block with the same block of another encoder.

    workdir: of the run that the other encoder is of; its averaged weights, as it is evaluated.
             '' for this encoder before training.
    step:    of the other run's checkpoint, which must have been kept; 0 for the newest.
    images:  at most so many test images, spread evenly, of the training data without (1024: ours).
             Both encoders see the same images at their own sizes, cropped as in this run.
    Yields ('cka', mean over blocks of the same number, of networks of different depths as many as
    the shallower one has) with a picture of all pairs of blocks, and ('cka/<block>', of one). 1 is
    equal up to a rotation and a scale, 0 is unrelated.
    Raises ConfigError for a step without a workdir and a run that is not there, CheckpointError for
    a step that was not kept, Unsuitable where an encoder does not give the outputs of its blocks.
    Source: linear CKA (arXiv 1905.00414) with the unbiased estimate of HSIC, as Nguyen et al.
    (arXiv 2010.15327) have it, of pooled features. The plain estimate is too high unless there are
    many more images than dimensions; this one may leave [0, 1] by a little.
    """
    if step and not workdir:
        raise ConfigError(f"step {step} is of no run: set evals.measures.cka.workdir, too")
    other = another(trained, workdir, step) if workdir else trained
    variables = other.variables if workdir else trained.before()
    here, there = chosen_blocks(trained, ()), chosen_blocks(other, ())
    one = _readable(trained, block_features(trained, here, trained.images.batches(images)))
    two = _readable(other, block_features(other, there, other.images.batches(images), variables))
    values = similarities(one, two)
    name = f"{workdir}, step {other.step}" if workdir else "the encoder before training"
    short = f"{Path(workdir).resolve().name}, step {other.step}" if workdir else name
    picture = draw_similarities(
        values, f"block, step {trained.step}", f"block of {short}", "Linear CKA of blocks"
    )
    same = np.diagonal(values)
    of = "by block"
    if len(here) != len(there):
        last = len(same) - 1
        of = f"of blocks 0 to {last} of {len(here)} with blocks 0 to {last} of {len(there)}:"
    listed = " ".join(f"{value:.2f}" for value in same)
    text = f"CKA {same.mean():.3f} with {name}, {of} {listed}"
    yield Measured("cka", float(same.mean()), text, picture=picture)
    for block, value in enumerate(same):
        yield Measured(f"cka/{block}", float(value), "")


def another(trained: Trained, workdir: str, step: int) -> Trained:
    """Return what a measure sees of another run, with the images and devices of this one."""
    run = load_trained(workdir, step or None)
    place = replicated(trained.mesh)
    variables = run.variables._replace(frozen=run.method.freeze())
    source = trained.images._replace(spec=run.spec)
    return trained._replace(
        method=run.method,
        variables=jax.device_put(variables, place),
        spec=run.spec,
        step=run.step,
        test=source,
        training=source,
    )


def _readable(trained: Trained, split: Split) -> list[np.ndarray]:
    """Return f32[n, D] of each block; raise Unsuitable for too few images."""
    features = split.features
    if len(features) < 4:
        raise Unsuitable(
            f"it needs 4 images, {trained.images.name} has {len(features)} that can be read"
        )
    return list(np.moveaxis(features, 1, 0))


def similarities(one: list[np.ndarray], two: list[np.ndarray]) -> np.ndarray:
    """Return the CKA of all pairs, f64[len(one), len(two)], of f[n, D] of the same n >= 4 images.

    The widths may differ. 0 for features that are all the same.
    """
    rows, columns = (np.stack([gram(each) for each in features]) for features in (one, two))
    between = independence(rows, columns)
    of_rows = np.diagonal(independence(rows, rows))
    of_columns = np.diagonal(independence(columns, columns))
    size = np.sqrt(np.maximum(of_rows[:, None] * of_columns, 0.0))
    return np.divide(between, size, out=np.zeros_like(between), where=size > 0)


def gram(features: np.ndarray) -> np.ndarray:
    """Return the products of all pairs of centred rows, f64[n, n], with zeros on the diagonal."""
    features = np.asarray(features, np.float64)
    features = features - features.mean(axis=0)
    features /= max(float(np.linalg.norm(features)), 1e-30)
    products = features @ features.T
    np.fill_diagonal(products, 0.0)
    return products


def independence(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return the unbiased HSIC of all pairs of f64[a, n, n] and f64[b, n, n]: f64[a, b].

    Source: Song et al., Feature Selection via Dependence Maximization (JMLR 2012), equation 5.
    """
    count = one.shape[-1]
    traces = one.reshape(len(one), -1) @ two.reshape(len(two), -1).T
    sums_one, sums_two = one.sum(axis=-1), two.sum(axis=-1)
    totals = np.outer(sums_one.sum(axis=-1), sums_two.sum(axis=-1))
    crossed = sums_one @ sums_two.T
    rest = totals / ((count - 1) * (count - 2)) - 2 / (count - 2) * crossed
    return (traces + rest) / (count * (count - 3))
