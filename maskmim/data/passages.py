"""Passages of a text that comes with Python, as bytes: a source without files, and its windows."""

from __future__ import annotations

import hashlib
import pydoc_data.topics
from typing import Literal

import numpy as np

from maskmim.config.ranges import OpenFraction, PositiveInt, Seed
from maskmim.data.records import BadImage, DataError, Example, manifest_digest


class PassageRecords:
    """Records of a text cut into passages, u8[length] each; the rest at the end is left out."""

    def __init__(self, text: bytes, places: np.ndarray, length: int, title: str):
        self.labels: dict[str, list[str]] = {}
        digest = hashlib.sha256(text + places.tobytes()).hexdigest()
        self.fingerprint = manifest_digest(
            [(f"{title} of {length} bytes of {digest}", len(places))]
        )
        self._text = np.frombuffer(text, np.uint8)
        self._places, self._length, self._title = places, length, title

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        start = int(self._places[index]) * self._length
        return Example(self._text[start : start + self._length], {})

    def name(self, index: int) -> str:
        """Return the title and the index."""
        return f"{self._title}[{index}]"


def passages(
    *,
    split: Literal["train", "test"],
    length: PositiveInt = 512,
    test_share: OpenFraction = 0.1,
    seed: Seed = 0,
) -> PassageRecords:
    """Return passages of the reference of Python, about 470 kB of English that Python itself has.

    length:     bytes of a passage; an example is a window of it, see `random_window`.
    test_share: of the passages, chosen by the seed, the others are 'train'.
    There are no label sets. Another version of Python may have another text: a run is continued
    with the text that it began with.
    Raises DataError where a split would have no passage.
    """
    topics = pydoc_data.topics.topics
    text = "\n\n".join(topics[name] for name in sorted(topics)).encode()
    count = len(text) // length
    order = np.random.default_rng(seed).permutation(count)
    tested = round(count * test_share)
    places = np.sort(order[:tested] if split == "test" else order[tested:])
    if not len(places):
        raise DataError(
            f"{count} passages of {length} bytes, of which {test_share:g} are for tests, leave no "
            f"passage for split={split}: choose a smaller length or another test_share"
        )
    return PassageRecords(text, places, length, f"passages {split}")


def as_indices(
    rng: np.random.Generator, encoded: np.ndarray | bytes, channels: PositiveInt = 1
) -> np.ndarray:
    """Return a sequence as it is stored, [L, 1]: bytes, or an array of indices; not random.

    Raises BadImage for what is no sequence of whole numbers.
    """
    values = np.frombuffer(encoded, np.uint8) if isinstance(encoded, bytes) else np.asarray(encoded)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise BadImage(
            f"{values.dtype}{list(values.shape)} where a sequence of whole numbers is expected"
        )
    return values[:, None]


def random_window(
    rng: np.random.Generator, sequence: np.ndarray, size: tuple[int, ...]
) -> np.ndarray:
    """Return a random part of a sequence, [size, C]. Raises DataError for a shorter sequence."""
    spare = _spare(sequence, size)
    start = int(rng.integers(0, spare + 1))
    return sequence[start : start + size[0]]


def first_window(
    rng: np.random.Generator, sequence: np.ndarray, size: tuple[int, ...]
) -> np.ndarray:
    """Return the start of a sequence, for evaluation; as `random_window`."""
    _spare(sequence, size)
    return sequence[: size[0]]


def _spare(sequence: np.ndarray, size: tuple[int, ...]) -> int:
    """Return how many values more than the size there are; raise DataError for fewer."""
    if len(size) != 1:
        raise DataError(
            f"input.size {'x'.join(map(str, size))} has {len(size)} axes, but a sequence has one: "
            "set input.size to one number"
        )
    if len(sequence) < size[0]:
        raise DataError(
            f"a sequence of {len(sequence)} values is shorter than input.size {size[0]}: set a "
            "smaller input.size, or a larger data.train.length"
        )
    return len(sequence) - size[0]
