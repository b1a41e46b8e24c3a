"""Whether the classes of training and test data are the same, and what to do where they are not."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Collection, Iterator, Sequence

from maskmim.data import listing
from maskmim.data.records import DataError, Records

LISTED = 20  # classes that a flag can be expected to hold


def check_classes(
    train: Records,
    test: Records,
    *,
    keys: tuple[str, str] = ("evals.train", "evals.test"),
    only: Collection[str] | None = None,
) -> None:
    """Raise DataError unless both have the same label sets with the same classes, in order.

    Raises it too where every label set has a single class, since nothing is told apart then.
    keys: of both in the config. only: label sets to compare; None for all.
    """
    names = sorted(train.labels.keys() | test.labels.keys())
    names = [name for name in names if only is None or name in only]
    differing = [
        name
        for name in names
        if not (name in train.labels and train.labels[name] == test.labels.get(name))
    ]
    if differing:
        faults = [
            f"\n  {fault}"
            for name in differing
            for fault in _faults(name, train.labels.get(name, ()), test.labels.get(name, ()), keys)
        ]
        raise DataError(
            f"{keys[0]} and {keys[1]} have other classes for the labels {', '.join(differing)}, "
            f"so that an index would mean another class:{''.join(faults)}"
        )
    if names and all(len(train.labels[name]) == 1 for name in names):
        one = listing.printable(train.labels[names[0]][0])
        raise DataError(
            f"{keys[0]} and {keys[1]} have one class only, {one!r}, so there is nothing to "
            "tell apart: set their paths to folders with one subfolder per class, or leave out "
            "the probes (--config.evals.at_end=reconstruction)"
        )


def _faults(
    name: str, train: Sequence[str], test: Sequence[str], keys: tuple[str, str]
) -> Iterator[str]:
    """Yield sentences that say how two lists of classes differ, and the cure."""
    if not train or not test:
        here, there = ("test", "training") if test else ("training", "test")
        yield f"{name}: only the {here} data have these labels: choose {there} data that have them"
        return
    only_train, only_test = sorted(set(train) - set(test)), sorted(set(test) - set(train))
    if not (only_train or only_test):
        yield f"{name}: the same classes in another order: give both the same list of classes"
        return
    if only_train:
        yield f"{name}: only in training {listing.names_text(only_train)}"
    if only_test:
        yield f"{name}: only in test {listing.names_text(only_test)}"
    pairs = _alike(only_train, only_test)
    if pairs:
        same = ", ".join(f"{one!r} and {other!r}" for one, other in pairs[: listing.SHOWN])
        yield f"{same} differ in upper and lower case or in how accents are stored: rename one"
    if len(pairs) == len(only_train) == len(only_test):
        return
    if not pairs and not set(train) & set(test):
        yield "no class is in both: are these the training and test part of the same data?"
    else:
        every = sorted({*train, *test} - {other for _, other in pairs})
        listed = _flag_value(every) if len(every) <= LISTED else "A,B,..."
        flags = " ".join(f"--config.{key}.classes={listed}" for key in keys)
        yield f"remove what is odd, or name all classes for both, if these are folders: {flags}"


def _flag_value(names: Sequence[str]) -> str:
    """Return names as a flag takes them; quotes keep 1, True and names with commas texts."""
    plain = all(re.fullmatch(r"[^\W\d][\w.-]*", name) for name in names)
    words = {"true", "false", "none", "inf", "nan"} & {name.lower() for name in names}
    return ",".join(names) if plain and not words else shlex.quote(repr(tuple(names)))


def _alike(ones: Sequence[str], others: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of names that people read as the same."""
    read = {unicodedata.normalize("NFC", other).casefold(): other for other in others}
    found = ((one, read.get(unicodedata.normalize("NFC", one).casefold())) for one in ones)
    return [(one, other) for one, other in found if other]
