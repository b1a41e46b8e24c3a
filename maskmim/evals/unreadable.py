"""Images of an evaluation that cannot be read: they do not count, and are counted here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from maskmim.data.records import Records
from maskmim.errors import count_of

# {source, such as 'evals.test': {name of a record: why it cannot be read}}.
Unreadable = dict[str, dict[str, str]]


def watched(
    batches: Iterable[Mapping[str, Any]], records: Records, found: dict[str, str]
) -> Iterator[Mapping[str, Any]]:
    """Yield batches as of `data.pipeline.eval_batches`, and note in `found` what was not read.

    records: those that the batches are of. found: {name of a record: why}, to add to.
    """
    for batch in batches:
        for index, reason in zip(batch["bad"], batch["reason"], strict=True):
            if index >= 0:
                found.setdefault(records.name(int(index)), reason)
        yield batch


def sentences(unreadable: Unreadable) -> list[str]:
    """Return a sentence for each source with images that could not be read."""
    return [_sentence(source, found) for source, found in unreadable.items() if found]


def _sentence(source: str, found: Mapping[str, str]) -> str:
    name, why = next(iter(found.items()))
    images, verb = count_of(len(found), "image"), "does" if len(found) == 1 else "do"
    return f"{images} of {source} cannot be read and {verb} not count, such as {name} ({why})"
