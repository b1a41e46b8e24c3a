"""Sentences as indices of words, between a mark of the start and one of the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskmim.data.records import DataError

PADDING, FIRST_WORD = 0, 1


def smallest_vocabulary(words: Sequence[str]) -> int:
    """Return how many indices there are at least: padding, the words, start and end."""
    return FIRST_WORD + len(words) + 2


def word_ids(sentence: str, words: Sequence[str], *, length: int, vocabulary: int) -> np.ndarray:
    """Return a sentence as i32[length]: start, its words, end, padding.

    words:      known ones, of which the i-th has the index 1 + i; the sentence has blanks between.
    vocabulary: of the network; start and end are its last two indices, as in CLIP, whose text
                encoder is read where the end stands. Padding is 0.
    Raises DataError for an unknown word, a sentence that is too long and a vocabulary that is too
    small.
    Source: the order and the marks of `tokenize` in clip/clip.py of openai/CLIP, whose vocabulary
    has 49,408 indices of parts of words.
    """
    parts = sentence.split()
    if unknown := [word for word in parts if word not in words]:
        raise DataError(f"{sentence!r} has {unknown[0]!r}, which is none of {', '.join(words)}")
    if len(parts) + 2 > length:
        raise DataError(
            f"{sentence!r} with its start and end has {len(parts) + 2} indices, but {length} are "
            "allowed: raise `length` of the captions and of calls.text"
        )
    if vocabulary < smallest_vocabulary(words):
        raise DataError(
            f"a vocabulary of {vocabulary} has no place for {len(words)} words, padding, start and "
            f"end: give at least {smallest_vocabulary(words)}"
        )
    ids = np.full(length, PADDING, np.int32)
    middle = [FIRST_WORD + words.index(word) for word in parts]
    ids[: len(parts) + 2] = [vocabulary - 2, *middle, vocabulary - 1]
    return ids
