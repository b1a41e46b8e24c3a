"""What a run learns to classify: the objectives that do, and the names of their classes."""

from __future__ import annotations

from typing import NamedTuple

from ml_collections import ConfigDict

from maskmim.config.bricks import bind, resolve
from maskmim.data.records import DataError
from maskmim.errors import UserError
from maskmim.objectives import binary_labels, label, of_view, soft_label


class LearntLabels(NamedTuple):
    """What an objective of labels teaches a function of pooled features.

    labels:  one set, of whose classes an example has one; several sets of two classes (absent and
             present) where `several` is true, and the function gives a logit for each set.
    call:    name of the function in `Net.calls`. pooling: of the features that it gets.
    """

    labels: tuple[str, ...]
    call: str
    pooling: str
    several: bool


def learnt_labels(config: ConfigDict) -> dict[str, LearntLabels]:
    """Return what each objective of a config learns from labels, by its name."""
    learnt, terms = {}, dict(config.objectives.items())
    for name, pair in (config.pairs if "pairs" in config else {}).items():
        if resolve(pair.brick) is of_view:
            terms[name] = pair.objective
    for name, term in terms.items():
        brick = resolve(term.brick)
        if brick in (label, soft_label):
            learnt[name] = LearntLabels((term.labels,), term.call, term.pooling, False)
        elif brick is binary_labels:
            learnt[name] = LearntLabels(tuple(term.labels), term.call, term.pooling, True)
    return {name: each for name, each in learnt.items() if each.call in config.calls}


def class_names(config: ConfigDict, labels: str, count: int) -> tuple[str, ...]:
    """Return the names of a set of labels of the images that a run was trained on.

    () where these are not here, or do not have so many classes.
    """
    try:
        names = tuple(bind(config.data.train)().labels.get(labels, ()))
    except (DataError, UserError, OSError, ImportError):
        return ()
    return names if len(names) == count else ()
