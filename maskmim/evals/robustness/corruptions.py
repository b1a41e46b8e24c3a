"""How many images are classified wrongly once they are corrupted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from maskmim.config import facts
from maskmim.config.ranges import PositiveInt
from maskmim.data.corruptions import CORRUPTIONS, LEVELS, check_names, corrupted
from maskmim.errors import count_of
from maskmim.evals.features import Unsuitable
from maskmim.evals.measures import Measured
from maskmim.evals.robustness.classifiers import Classifier, Classify, label_set, own_or_linear
from maskmim.evals.robustness.corruption_errors import (
    CLEAN,
    measured,
    read_baseline,
    settled_of,
)
from maskmim.evals.trained import Trained
from maskmim.reporting.sheets import draw_sheet
from maskmim.reporting.streams import as_rgb

PREFIX = "corruptions"
Batch = Mapping[str, Any]


@facts.measure(needs=("features", "labels", "training"))
def corruptions(
    trained: Trained,
    *,
    names: tuple[str, ...] = tuple(CORRUPTIONS),
    images: PositiveInt = 256,
    labels: str = "",
    classifier: Classify = own_or_linear,
    baseline: str = "",
) -> Iterator[Measured]:
    """Yield the top-1 error on corrupted test images, for each corruption and severity.

    names:      of `data.corruptions.CORRUPTIONS`, each with all its severities.
    images:     at most so many of `evals.test`, spread evenly (256: ours; 40 versions of each are
                encoded). They are corrupted after `evals.transform`, at the size of the input.
    labels:     the label set; '' for that with the most classes.
    classifier: a brick of `evals.robustness.classifiers`, which has seen clean images alone.
    baseline:   the results.json of another encoder, evaluated by this measure with equal settings;
                '' for none.
    Yields errors, shares in [0, 1]: 'corruptions/clean', '<corruption>/<severity>' and their mean
    '<corruption>', 'mean_error' over all; with a baseline 'mce' and 'relative_mce'. Pictures: the
    corruptions of one image, and errors by severity.
    Noise depends on the image's index alone, so that all encoders see the same pictures.
    Raises Unsuitable for inputs other than pictures u8 of 1 or 3 channels, ConfigError for a
    baseline whose errors are of other labels, images or classifiers.
    Source: ImageNet-C (arXiv 1903.12261); differences: see `data.corruptions`. The published mCE is
    over 15 corruptions of 50,000 images, with AlexNet as baseline: another number.
    """
    check_names(list(names))
    _check_pictures(trained)
    other = read_baseline(baseline, PREFIX, names) if baseline else None
    judge = classifier(trained, label_set(trained, labels))
    batches = list(trained.test.batches(images))
    count = sum(int(batch["valid"].sum()) for batch in batches)
    settled = settled_of(trained, judge, PREFIX, count)
    settled["input.size"] = list(trained.spec.size)
    if other:
        other.check(settled)
    clean = error_on(trained, judge, batches)
    text = f"error {100 * clean:.1f} % on clean pictures"
    sheet = _sheet(batches[0][trained.spec.stream][0], int(batches[0]["record"][0]), names)
    yield Measured(f"{PREFIX}/{CLEAN}", clean, text, picture=sheet, settled=settled)
    errors = {
        name: [
            error_on(trained, judge, _corrupted(trained, batches, name, severity))
            for severity in LEVELS
        ]
        for name in names
    }
    about = f"{count_of(count, 'image')}, {judge.labels}, {judge.title} classifier"
    yield from measured(PREFIX, errors, clean, other.errors if other else {}, about)


def error_on(
    trained: Trained, judge: Classifier, batches: Sequence[Batch] | Iterator[Batch]
) -> float:
    """Return the top-1 error on the valid images of some batches."""
    encode = trained.method.apply["encode"]
    seen = trained._replace(pooling=judge.pooling).features_by(encode, trained.variables, batches)
    return 1.0 - float(judge.right(seen).mean())


def _check_pictures(trained: Trained) -> None:
    spec = trained.spec
    if len(spec.size) != 2 or spec.dtype != "uint8" or spec.channels not in (1, 3):
        raise Unsuitable(
            f"pictures of 8 bits with 1 or 3 channels are corrupted, inputs here are {spec.dtype}"
            f"{list(spec.shape)}"
        )


def _corrupted(
    trained: Trained, batches: Sequence[Batch], name: str, severity: int
) -> Iterator[Batch]:
    """Yield the batches with their pictures corrupted."""
    stream = trained.spec.stream
    for batch in batches:
        pictures = np.array(batch[stream])
        for row in np.flatnonzero(batch["valid"]):
            index = int(batch["record"][row])
            pictures[row] = corrupted(pictures[row], name, severity, index=index)
        yield {**batch, stream: pictures}


def _sheet(picture: np.ndarray, index: int, names: Sequence[str]) -> np.ndarray:
    """Draw all corruptions of a picture u8[H, W, C], severities below each other."""
    columns = {
        name: np.stack([corrupted(picture, name, each, index=index) for each in LEVELS])
        for name in names
    }
    return draw_sheet(
        {name: as_rgb(each) for name, each in columns.items()}, title="severities 1 to 5"
    )
