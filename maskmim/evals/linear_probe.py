"""The linear probe of MAE on kept features, with the learning rate chosen on training images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.evals.features import FeatureError, Features, Split, Unsuitable
from maskmim.evals.probe_optimisers import lars, sgd
from maskmim.evals.probe_training import Optimiser, Protocol, Sweep, fit, plan_of, score

Metrics = Iterator[tuple[str, float]]


def linear_probe(
    features: Features,
    *,
    base_lrs: tuple[float, ...] = (0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
    epochs: int = 90,
    warmup_epochs: float = 10.0,
    batch_size: int = 16_384,
    least_steps: int = 8,
    held_out: float = 0.2,
    seed: int = 0,
) -> Metrics:
    """Top-1 accuracy of a linear classifier on frozen features, trained by LARS as in MAE.

    All learning rates are trained at once. The best is chosen for each label set on a part of the
    training split; the classifier is then trained anew with it on the whole training split and
    tested, once. Test labels are read for that one number only.

    base_lrs:      the sweep; the rate is base lr * batch / 256.
    epochs, warmup_epochs: linear warm-up, then half a cosine to 0 at the last step.
    batch_size:    lowered to n // least_steps where n training images are few, so that an epoch has
                   at least `least_steps` steps; the incomplete last batch is left out.
    held_out:      share of the training split that chooses, see `stratified_split`.
    seed:          of the split, the initial weights and the order of the images.
    Yields ('linear/<label set>/top1', share in [0, 1]), ('.../lr', chosen base lr) and
    ('.../held_out', its top-1 on the held-out part). A chosen lr at an end of the sweep asks for a
    wider one.
    Raises Unsuitable where labels or images are missing or no rate stays finite.
    Source: MAE (main_linprobe.py, util/lars.py, util/lr_sched.py; arXiv 2111.06377, appendix A.1):
    BatchNorm without affine part (eps 1e-6), weights N(0, .01), zero bias, LARS, no weight decay,
    90 epochs with 10 of warm-up, batch 16,384. Deliberate differences: features are computed once
    and without augmentation, where MAE re-encodes random crops and flips in each epoch; the rate is
    swept on held-out training images, where MAE takes 0.1 and its log keeps the best epoch on the
    validation set.
    """
    protocol = Protocol(epochs, warmup_epochs, batch_size, least_steps)
    return _probe("linear", features, lars, base_lrs, protocol, held_out, seed)


def linear_probe_sgd(
    features: Features,
    *,
    base_lrs: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    epochs: int = 90,
    warmup_epochs: float = 10.0,
    batch_size: int = 16_384,
    least_steps: int = 8,
    held_out: float = 0.2,
    seed: int = 0,
) -> Metrics:
    """`linear_probe` trained by gradient descent with momentum .9 instead of LARS.

    Its rates are lower: LARS counts them in lengths of the weights. Metrics are called
    'linear_sgd/<label set>/...'; all else is as for `linear_probe`.
    """
    protocol = Protocol(epochs, warmup_epochs, batch_size, least_steps)
    return _probe("linear_sgd", features, sgd, base_lrs, protocol, held_out, seed)


linear_probe.needs_labels = True
linear_probe_sgd.needs_labels = True


def _probe(
    title: str,
    features: Features,
    optimiser: Optimiser,
    base_lrs: tuple[float, ...],
    protocol: Protocol,
    held_out: float,
    seed: int,
) -> Metrics:
    train, test, classes = features
    _check_measurable(features)

    def train_on(rows: np.ndarray, lrs: Mapping[str, tuple[float, ...]]) -> Sweep:
        part = Split(train.features[rows], _rows(train.labels, rows))
        plan = plan_of(len(rows), protocol)
        rates = {name: jnp.asarray(lrs[name], jnp.float32) * (plan.batch / 256) for name in lrs}
        counts = tuple((name, len(classes[name])) for name in sorted(classes))
        return fit(*part, rates, jax.random.key(seed), classes=counts, plan=plan, solver=optimiser)

    finest = max(classes, key=lambda name: len(classes[name]))
    kept, held = stratified_split(train.labels[finest], share=held_out, seed=seed)
    trial = train_on(kept, {name: tuple(base_lrs) for name in classes})
    scores = {name: score(trial, name, train, held) for name in classes}
    best = {name: choose(*scores[name]) for name in classes}
    everything = np.arange(len(train.features))
    final = train_on(everything, {name: (base_lrs[best[name]],) for name in classes})
    for name in classes:
        lr = float(base_lrs[best[name]])
        right, loss = score(final, name, test, np.arange(len(test.features)))
        if not np.isfinite(loss[0]):
            raise Unsuitable(f"base lr {lr} diverged on all training images: lower base_lrs")
        yield f"{title}/{name}/top1", float(right[0])
        yield f"{title}/{name}/lr", lr
        yield f"{title}/{name}/held_out", float(scores[name][0][best[name]])


def _check_measurable(features: Features) -> None:
    if not features.classes:
        raise Unsuitable(
            "a linear probe needs labels, these images have none: name a labelled set in evals"
        )
    if not len(features.test.features):
        raise Unsuitable("a linear probe needs at least one test image: evals.test is empty")


def stratified_split(
    labels: np.ndarray, *, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices kept for training and indices held out, both ascending, a function of the seed.

    Of the images sorted by class, in random order within each, evenly spaced ones are held out, so
    each class gives about its share; one image of each class always stays for training.
    Label sets share one split, stratified by the one with the most classes.
    Raises Unsuitable where no image can be spared, FeatureError for a share outside (0, 1).
    """
    if not 0.0 < share < 1.0:
        raise FeatureError(f"held_out = {share} must lie between 0 and 1")
    count = len(labels)
    mixed = np.random.default_rng(seed).permutation(count)
    ordered = mixed[np.argsort(labels[mixed], kind="stable")]
    sorted_labels = labels[ordered]
    spare = ordered[1:][sorted_labels[1:] == sorted_labels[:-1]]
    wanted = min(max(1, round(share * count)), len(spare))
    if not wanted:
        raise Unsuitable(
            f"{count} training images hold no class with two images: none can be held out to "
            "choose the learning rate"
        )
    picked = spare[(np.arange(wanted) * len(spare)) // wanted]
    kept = np.ones(count, bool)
    kept[picked] = False
    return np.flatnonzero(kept), np.flatnonzero(~kept)


def choose(top1: np.ndarray, loss: np.ndarray) -> int:
    """The place of the highest top-1 whose loss is finite; of equals the one of lower loss.

    Raises Unsuitable where every loss has diverged.
    """
    sound = np.isfinite(loss)
    if not sound.any():
        raise Unsuitable("every learning rate of the linear probe diverged: lower base_lrs")
    ranked = np.lexsort((np.where(sound, loss, np.inf), -np.where(sound, top1, -1.0)))
    return int(ranked[0])


def _rows(labels: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.asarray(values)[rows] for name, values in labels.items()}
