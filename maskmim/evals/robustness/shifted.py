"""Accuracy on other pictures of the classes that `evals.train` has: ImageNet-A, -R, -Sketch, -C."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from maskmim.config import facts
from maskmim.config.parse import ConfigError
from maskmim.config.ranges import PositiveInt
from maskmim.data import archives, folder, listing
from maskmim.data.corruptions import LEVELS
from maskmim.data.records import Records
from maskmim.errors import count_of
from maskmim.evals.features import Split
from maskmim.evals.measures import Measured
from maskmim.evals.robustness.classifiers import (
    Classifier,
    Classify,
    images_of,
    label_set,
    own_or_linear,
)
from maskmim.evals.robustness.corruption_errors import (
    CLEAN,
    measured,
    read_baseline,
    settled_of,
)
from maskmim.evals.trained import Source, Trained
from maskmim.evals.unreadable import sentences


@facts.measure(needs=("features", "labels", "training"))
def shifted(
    trained: Trained,
    *,
    path: str,
    title: str = "",
    images: PositiveInt = 10_000,
    labels: str = "",
    classifier: Classify = own_or_linear,
) -> Iterator[Measured]:
    """Yield the top-1 accuracy on a folder of other pictures of some or all classes.

    path:       a folder or archive with one folder per class, whose names are classes of
                `evals.train`, as those of ImageNet-A, ImageNet-R and ImageNet-Sketch are.
    title:      in the metrics; '' for the name of the folder.
    images:     at most so many, spread evenly, of it and of `evals.test` (10,000: ours).
    labels:     the label set; '' for that with the most classes.
    classifier: a brick of `evals.robustness.classifiers`, which has seen `evals.train` alone.
    Yields 'shifted/<title>' and, of the test images of these classes, 'shifted/<title>/clean',
    shares in [0, 1]. Of classes, those of the folder alone are considered in both, as ImageNet-A
    and -R ask for, which have 200 of 1,000.
    Raises ConfigError for a class that `evals.train` lacks, DataError for a path without images.
    Source: arXiv 1907.07174 (A), 2006.16241 (R), 1905.13549 (Sketch).
    """
    name = label_set(trained, labels)
    records = _opened(path)
    places = _places(records, trained.train.records.labels[name], path, name)
    judge = classifier(trained, name)
    other = _source(trained.test, records, path)
    seen = _split(trained, judge, other, images)
    judged = seen._replace(labels={name: places[seen.labels[folder.LABEL_SET]]})
    among = tuple(sorted(set(places.tolist())))
    share = float(judge.right(judged, among).mean())
    test = _split(trained, judge, trained.test, images)
    chosen = np.isin(test.labels[name], among)
    title = title or Path(path).expanduser().name
    kept = f"{len(among)} of {count_of(len(judge.classes), 'class', 'classes')}"
    text = f"{100 * share:.1f} % of {count_of(len(seen.features), 'image')}, {kept}"
    warning = "; ".join(sentences({path: other.unread}))
    yield Measured(f"shifted/{title}", share, f"{text}, {judge.title} classifier", warning)
    if chosen.any():
        clean = float(judge.right(test, among)[chosen].mean())
        text = f"{100 * clean:.1f} % of {count_of(int(chosen.sum()), 'image')} of evals.test"
        yield Measured(f"shifted/{title}/clean", clean, text)


@facts.measure(needs=("features", "labels", "training"))
def shifted_by_severity(
    trained: Trained,
    *,
    path: str,
    title: str = "",
    images: PositiveInt = 10_000,
    labels: str = "",
    classifier: Classify = own_or_linear,
    baseline: str = "",
) -> Iterator[Measured]:
    """Yield the top-1 error on stored corruptions in the layout of ImageNet-C, and mCE.

    path:     a folder with <corruption>/<severity 1 to 5>/<class>/; corruptions without all five
              severities are left out.
    images:   at most so many of each severity, and of `evals.test`, spread evenly (10,000: ours).
    baseline: the results.json of another encoder, evaluated by this measure with equal settings;
              '' for none.
    title, labels, classifier: as of `shifted`.
    Yields errors as `corruptions.corruptions` does, after '<title>/'.
    Raises ConfigError for a folder of another layout, for a class that `evals.train` lacks, and for
    a baseline whose errors are of other labels, pictures or classifiers.
    Source: ImageNet-C (arXiv 1903.12261).
    """
    root = listing.existing_folder(path)
    names = sorted(each.name for each in root.iterdir() if _has_severities(each))
    if not names:
        raise ConfigError(f"{path} has no folders <corruption>/1 to 5: for classes use `shifted`")
    title = title or root.name
    other = read_baseline(baseline, title, names) if baseline else None
    labels = label_set(trained, labels)
    judge = classifier(trained, labels)
    test = _split(trained, judge, trained.test, images)
    clean = 1.0 - float(judge.right(test).mean())
    settled = settled_of(trained, judge, title, len(test.features))
    if other:
        other.check(settled)

    def error(place: Path) -> float:
        records = _opened(str(place))
        stored = {str(place.relative_to(root)): f"at most {images:,} of {images_of(records)}"}
        settled.update(stored)
        if other:
            other.check(stored)
        places = _places(records, judge.classes, str(place), labels)
        seen = _split(trained, judge, _source(trained.test, records, str(place)), images)
        judged = seen._replace(labels={labels: places[seen.labels[folder.LABEL_SET]]})
        return 1.0 - float(judge.right(judged).mean())

    errors = {name: [error(root / name / str(level)) for level in LEVELS] for name in names}
    text = f"error {100 * clean:.1f} % on evals.test"
    yield Measured(f"{title}/{CLEAN}", clean, text, settled=settled)
    about = f"at most {images:,} images each, {labels}, {judge.title} classifier"
    yield from measured(title, errors, clean, other.errors if other else {}, about)


def _opened(path: str) -> Records:
    """Return the labelled images of a folder or archive."""
    opener = archives.labelled if Path(path).expanduser().is_file() else folder.labelled
    return opener(path=path)


def _has_severities(place: Path) -> bool:
    return all((place / str(level)).is_dir() for level in LEVELS)


def _places(records: Records, classes: Sequence[str], path: str, name: str) -> np.ndarray:
    """Return the index among classes of each class of some records, i64[n]."""
    own = records.labels[folder.LABEL_SET]
    if unknown := sorted(set(own) - set(classes)):
        raise ConfigError(
            f"{path} has {count_of(len(unknown), 'class', 'classes')} that the labels {name!r} of "
            f"evals.train lack ({listing.names_text(unknown)}): name its folders as the classes of "
            "evals.train are named"
        )
    return np.array([classes.index(each) for each in own])


def _source(like: Source, records: Records, path: str) -> Source:
    """Return records as a source that is read as another one is."""
    return like._replace(name=path, open=functools.partial(_same, records), unread={})


def _same(records: Records) -> Records:
    return records


def _split(trained: Trained, judge: Classifier, source: Source, images: int) -> Split:
    """Return the features of some images of a source, as the classifier reads them."""
    encode = trained.method.apply["encode"]
    return trained._replace(pooling=judge.pooling).features_by(
        encode, trained.variables, source.batches(images)
    )
