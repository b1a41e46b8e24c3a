"""Attentive probes: classifiers that learn which patch tokens to read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import NonNegative, OpenFraction, PositiveInt, Rates, Seed
from maskmim.evals.attentive_heads import Head, cross_attention_head, efficient_head
from maskmim.evals.attentive_training import Learners, Trainer, score_learners, train_learners
from maskmim.evals.features import Unsuitable
from maskmim.evals.measures import Measured
from maskmim.evals.patch_tokens import (
    BYTES,
    PatchTokens,
    kept_tokens,
    streamed_tokens,
    token_shape,
)
from maskmim.evals.probe_optimisers import adamw, lars
from maskmim.evals.probe_training import Optimiser, Protocol, training_plan
from maskmim.evals.rate_sweep import ByLabels, Scores, fit_best, stratified_split, tested
from maskmim.evals.trained import Trained, batch_shares, labelled_classes
from maskmim.runtime import activity

METRICS = "top1", "lr", "held_out"
# Images that are classified at a time, on each device.
SCORED = 256


@facts.measure(needs=("features", "labels", "training"))
def attentive(
    trained: Trained,
    *,
    head_width: PositiveInt = 64,
    lrs: Rates = (1e-4, 3e-4, 1e-3, 3e-3),
    epochs: PositiveInt = 20,
    warmup_epochs: NonNegative = 0.0,
    batch_size: PositiveInt = 1024,
    least_steps: PositiveInt = 16,
    held_out: OpenFraction = 0.2,
    memory_gb: NonNegative = 8.0,
    seed: Seed = 0,
) -> Iterator[Measured]:
    """Yield the top-1 accuracy of V-JEPA's attentive probe on frozen patch tokens.

    Trains all learning rates at once, chooses the best for each label set on held-out training
    images, trains again with it on all of them and tests once, as `linear_probe` does.

    head_width:  of the cross-attention, see `attentive_heads.cross_attention_head`; 64 is that of
                 ViT-B and ViT-L.
    lrs:         the sweep, of AdamW with weight decay 0.001 of matrices.
    epochs, warmup_epochs: linear warm-up, then half a cosine to 0 at the last step.
    batch_size:  lowered to n // least_steps for few training images, and to a multiple of the
                 devices of a batch; the incomplete last batch of an epoch is dropped.
    held_out, seed: as of `linear_probe`.
    memory_gb:   tokens are kept as float16 where those of training and test images need at most so
                 many times 10^9 bytes, 2 * images * patches * D. Beyond it images are decoded and
                 encoded again in every epoch, with the same result.
    Yields ('attentive/<label set>/top1', share in [0, 1]), ('.../lr', the chosen one) and
    ('.../held_out', its top-1 on held-out images).
    Raises Unsuitable where labels are missing or no rate stays finite.
    Source: V-JEPA (arXiv 2404.08471), configs/evals/vitl16_in1k.yaml: 20 epochs, batch size 1,024,
    learning rate 0.001 without warm-up, weight decay 0.001. Differences: images are not augmented,
    and the sweep, least_steps and memory_gb are ours.
    """
    protocol = Protocol(epochs, warmup_epochs, batch_size, least_steps)
    setup = Setup("attentive", cross_attention_head(head_width), adamw, protocol, lr_per=None)
    yield from _probe(trained, setup, lrs, held_out, memory_gb, seed)


@facts.measure(needs=("features", "labels", "training"))
def attentive_efficient(
    trained: Trained,
    *,
    queries: PositiveInt = 32,
    base_lrs: Rates = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
    epochs: PositiveInt = 90,
    warmup_epochs: NonNegative = 10.0,
    batch_size: PositiveInt = 4096,
    least_steps: PositiveInt = 8,
    held_out: OpenFraction = 0.2,
    memory_gb: NonNegative = 8.0,
    seed: Seed = 0,
) -> Iterator[Measured]:
    """Yield the top-1 accuracy of efficient probing on frozen patch tokens.

    queries:  see `attentive_heads.efficient_head`; they must divide the width of tokens.
    base_lrs: the sweep, of LARS without weight decay; the learning rate is base lr * batch size /
              256.
    The other keywords are those of `attentive`.
    Yields ('attentive_efficient/<label set>/top1', share in [0, 1]), ('.../lr', chosen base lr) and
    ('.../held_out', its top-1 on held-out images).
    Raises Unsuitable as `attentive`, and where the queries do not divide the width.
    Source: Attention, Please! (arXiv 2506.10178, README.md): 32 queries, 90 epochs, batch size
    4,096, LARS with base lr 0.1, warm-up as in MAE's linear probe. Differences: as of `attentive`.
    """
    protocol = Protocol(epochs, warmup_epochs, batch_size, least_steps)
    setup = Setup("attentive_efficient", efficient_head(queries), lars, protocol, lr_per=256)
    yield from _probe(trained, setup, base_lrs, held_out, memory_gb, seed)


class Setup(NamedTuple):
    """What tells attentive probes apart.

    lr_per: the learning rate is that of the sweep * batch size / lr_per; None: that of the sweep.
    """

    title: str
    head: Head
    solver: Optimiser
    protocol: Protocol
    lr_per: int | None


def _probe(
    trained: Trained,
    setup: Setup,
    lrs: tuple[float, ...],
    held_out: float,
    memory_gb: float,
    seed: int,
) -> Iterator[Measured]:
    counts = {name: len(names) for name, names in labelled_classes(trained).items()}
    train, test = _tokens(trained, memory_gb)
    width, shares = token_shape(trained)[1], batch_shares(trained.mesh)

    def train_on(rows: np.ndarray, by_labels: ByLabels) -> Learners:
        plan = training_plan(len(rows), setup.protocol)
        batch = plan.batch // shares * shares or shares
        plan = plan._replace(batch=batch, steps=len(rows) // batch)
        factor = plan.batch / setup.lr_per if setup.lr_per else 1.0
        rates = {name: jnp.asarray(by_labels[name], jnp.float32) * factor for name in by_labels}
        trainer = Trainer(setup.head, setup.solver, plan)
        return train_learners(trainer, train, rows, rates, counts, width, seed)

    def score(learners: Learners, rows: np.ndarray, tokens: PatchTokens = train) -> Scores:
        return score_learners(setup.head, learners, tokens, rows, SCORED * shares)

    finest = max(counts, key=counts.__getitem__)
    rows = stratified_split(train.labels[finest], share=held_out, seed=seed)
    with activity.during(f"training the probe {setup.title}"):
        fitted = fit_best(lrs, counts, rows, train_on, score)
        scores = score(fitted.classifiers, np.arange(test.count), test)
    found = dict(tested(setup.title, fitted, scores))
    for name in counts:
        top1, lr, held = (found[f"{setup.title}/{name}/{each}"] for each in METRICS)
        text = f"{setup.title} {name} {100 * top1:.1f} %, lr {lr:g}, held out {100 * held:.1f} %"
        yield Measured(f"{setup.title}/{name}/top1", top1, text)
        yield Measured(f"{setup.title}/{name}/lr", lr, "")
        yield Measured(f"{setup.title}/{name}/held_out", held, "")


def _tokens(trained: Trained, memory_gb: float) -> tuple[PatchTokens, PatchTokens]:
    """Return the tokens of training and test images, kept where both fit."""
    sources = trained.train, trained.test
    images = sum(len(source.records) for source in sources)
    is_small = BYTES * images * math.prod(token_shape(trained)) <= memory_gb * 1e9
    make = kept_tokens if is_small else streamed_tokens
    with activity.during("patch tokens of training and test images"):
        train, test = (make(trained, source) for source in sources)
    if not test.count:
        raise Unsuitable("no test image can be read")
    return train, test
