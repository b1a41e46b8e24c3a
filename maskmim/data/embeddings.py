"""Sequences of embeddings of different lengths: sources, and their way into a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from maskmim.config.ranges import Fraction, NonNegative, PositiveInt, Seed
from maskmim.data.records import BadImage, DataError, Example, class_names, manifest_digest

# Fewer embeddings are repeated: below the first number so often.
REPEATS = ((2, 8), (5, 3))


class SequenceRecords:
    """Records of sequences in memory, f32[L, D] each, of any lengths.

    names: of the sequences. labels, classes: as of `arrays.ArrayRecords`.
    Raises DataError for no sequence, for empty ones and for embeddings of different widths.
    """

    def __init__(
        self,
        sequences: Sequence[np.ndarray],
        names: Sequence[str],
        *,
        labels: Mapping[str, np.ndarray] = {},
        classes: Mapping[str, Sequence[str]] = {},
        title: str,
    ):
        widths = {sequence.shape[1:] for sequence in sequences}
        if len(widths) != 1 or any(not len(sequence) for sequence in sequences):
            raise DataError(
                f"{title}: {len(sequences)} sequences with embeddings of the shapes "
                f"{sorted(widths)}: give sequences [L, D] of one D, none of them empty"
            )
        self.labels = class_names(classes)
        self._sequences = [np.asarray(sequence, np.float32) for sequence in sequences]
        digest = hashlib.sha256()
        for sequence in self._sequences:
            digest.update(sequence.tobytes())
        entries = [(f"{title} {digest.hexdigest()}", len(sequences))]
        self.fingerprint = manifest_digest(entries)
        self._names = tuple(names)
        self._labels = {name: np.asarray(values, np.int32) for name, values in labels.items()}

    def __len__(self) -> int:
        return len(self._sequences)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        labels = {name: int(values[index]) for name, values in self._labels.items()}
        return Example(self._sequences[index], labels)

    def name(self, index: int) -> str:
        """Return the name of the sequence."""
        return self._names[index]


def windows(*, path: str) -> SequenceRecords:
    """Return the windows of each video or recording that `maskmim.embed --window` wrote.

    path: of its .npz file; rows of one name are a sequence, in their order.
    Raises DataError for another file.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            features, names = stored["features"], stored["names"]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as embeddings of windows ({error}): write it by python -m "
            "maskmim.embed --window SECONDS --out FILE.npz"
        ) from error
    if features.ndim != 2:
        raise DataError(
            f"{path} has features of shape {features.shape}: embed with one vector for a window, "
            "by --pooling mean or class and without --layers"
        )
    first = {str(name): place for place, name in reversed(list(enumerate(names)))}
    order = sorted(first, key=first.__getitem__)
    return SequenceRecords([features[names == name] for name in order], order, title=path)


def stories(
    *,
    count: PositiveInt = 256,
    shortest: PositiveInt = 8,
    longest: PositiveInt = 32,
    width: PositiveInt = 32,
    scenes: PositiveInt = 12,
    shown: PositiveInt = 3,
    stays: Fraction = 0.6,
    noise: NonNegative = 0.5,
    seed: Seed = 0,
) -> SequenceRecords:
    """Return synthetic sequences whose scenes come back: a hidden Markov chain (ours).

    Each sequence draws `shown` of the `scenes`, stays in a scene with probability `stays` and
    otherwise goes to another of its own; an embedding is the scene's unit vector plus normal noise
    of length `noise` on average. shortest, longest: limits of the length, which is drawn evenly.
    Label set 'first': which scene a sequence begins with. seed: of the sequences; the scenes
    themselves are always the same.
    """
    vectors = np.random.default_rng(0).standard_normal((scenes, width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rng, made, first = np.random.default_rng(seed), [], []
    for _ in range(count):
        own = rng.permutation(scenes)[: min(shown, scenes)]
        length = int(rng.integers(shortest, max(longest, shortest) + 1))
        at, states = 0, []
        for _ in range(length):
            states.append(own[at])
            if rng.random() >= stays:
                at = int(rng.integers(len(own)))
        first.append(states[0])
        blur = rng.standard_normal((length, width)) * noise / np.sqrt(width)
        made.append((vectors[states] + blur).astype(np.float32))
    return SequenceRecords(
        made,
        [f"story {place}" for place in range(count)],
        labels={"first": np.array(first)},
        classes={"first": [f"scene {place}" for place in range(scenes)]},
        title="stories",
    )


def as_stored(
    rng: np.random.Generator, encoded: np.ndarray, channels: PositiveInt = 1024
) -> np.ndarray:
    """Return a sequence as it is stored, f32[L, D]; not random.

    Raises BadImage for what is no sequence, or not of finite numbers, and DataError for embeddings
    of another width than input.channels.
    """
    values = np.asarray(encoded)
    if values.dtype.kind != "f" or values.ndim != 2:
        raise BadImage(f"{values.dtype}{list(values.shape)} where a sequence [L, D] is expected")
    if values.shape[1] != channels:
        raise DataError(
            f"the embeddings have {values.shape[1]} values, input.channels is {channels}: set "
            f"input.channels={values.shape[1]}"
        )
    if not np.isfinite(values).all():
        raise BadImage("embeddings that are not finite")
    return values.astype(np.float32, copy=False)


def random_span(
    rng: np.random.Generator,
    arrays: Mapping[str, np.ndarray],
    size: Mapping[str, tuple[int, ...]],
    *,
    stream: str = "embeddings",
    padding: str = "padding",
    shortest: PositiveInt = 2,
) -> dict[str, np.ndarray]:
    """Return a random span of a sequence, of random length, each embedding scaled to length 1.

    arrays:   {stream: f32[L, D]}. size: {stream: (N, ...), padding: (N,)}.
    shortest: embeddings; the length is drawn evenly between it and N, and of a sequence that is
              shorter than that all is taken.
    Returns {stream: f32[N, D], 0 behind the end, padding: bool[N]}. Sequences of one embedding are
    repeated eight times, those of less than five three times.
    Source: CombinedData of data/CombinedData.py, amazon-science/lv-mae, with segments of 5 seconds
    and durations of 10 to 1,280 s.
    """
    sequence, places = arrays[stream], size[stream][0]
    length = min(int(rng.integers(min(shortest, places), places + 1)), len(sequence))
    start = int(rng.integers(0, len(sequence) - length + 1))
    return _padded(sequence[start : start + length], len(sequence), places, stream, padding)


def first_span(
    rng: np.random.Generator,
    arrays: Mapping[str, np.ndarray],
    size: Mapping[str, tuple[int, ...]],
    *,
    stream: str = "embeddings",
    padding: str = "padding",
) -> dict[str, np.ndarray]:
    """Return the start of a sequence, as much as there is place for; as `random_span`."""
    sequence, places = arrays[stream], size[stream][0]
    return _padded(sequence[:places], len(sequence), places, stream, padding)


def _padded(
    span: np.ndarray, whole: int, places: int, stream: str, padding: str
) -> dict[str, np.ndarray]:
    """Return unit vectors and where there are none; whole: embeddings of the sequence."""
    times = next((times for limit, times in REPEATS if whole < limit), 1)
    span = np.tile(span, (times, 1))[:places]
    lengths = np.linalg.norm(span, axis=1, keepdims=True)
    units = span / np.maximum(lengths, np.float32(1e-12))
    free = places - len(units)
    return {
        stream: np.pad(units, ((0, free), (0, 0))),
        padding: np.arange(places) >= len(units),
    }
