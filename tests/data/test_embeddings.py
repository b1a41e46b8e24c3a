"""Sequences of embeddings: files of `maskmim.embed`, synthetic ones, spans and padding."""

from __future__ import annotations

import numpy as np
import pytest

from maskmim.data.embeddings import (
    SequenceRecords,
    as_stored,
    first_span,
    random_span,
    stories,
    windows,
)
from maskmim.data.records import BadImage, DataError

SIZE = {"embeddings": (8,), "padding": (8,)}


def span_of(brick, sequence, seed=0, **keywords):
    rng = np.random.default_rng(seed)
    made = brick(rng, {"embeddings": sequence}, SIZE, **keywords)
    assert made["embeddings"].shape == (8, sequence.shape[1]) and made["padding"].dtype == bool
    assert made["embeddings"].dtype == np.float32
    assert not made["embeddings"][made["padding"]].any()
    return made["embeddings"][~made["padding"]]


def test_windows_of_a_file_are_sequences_in_their_order(tmp_path):
    features = np.arange(12, dtype=np.float32).reshape(6, 2)
    names = np.array(["b.mp4", "b.mp4", "a.mp4", "a.mp4", "a.mp4", "c.mp4"])
    np.savez(tmp_path / "films.npz", features=features, names=names)
    records = windows(path=str(tmp_path / "films.npz"))
    assert [records.name(n) for n in range(3)] == ["b.mp4", "a.mp4", "c.mp4"]
    for place, rows in enumerate(([0, 1], [2, 3, 4], [5])):
        np.testing.assert_array_equal(records[place].encoded, features[rows])
    np.savez(tmp_path / "tokens.npz", features=features[:, None], names=names)
    for name, words in (("none.npz", "cannot be read"), ("tokens.npz", "one vector for a window")):
        with pytest.raises(DataError, match=words):
            windows(path=str(tmp_path / name))


def test_sequences_of_different_widths_are_refused():
    for wrong in ([np.zeros((2, 3)), np.zeros((2, 4))], [np.zeros((0, 3))], []):
        with pytest.raises(DataError, match="of one D, none of them empty"):
            SequenceRecords(wrong, ["a", "b"], title="t")


def test_spans_are_parts_of_the_sequence_as_unit_vectors():
    sequence = np.random.default_rng(1).standard_normal((20, 4)).astype(np.float32)
    units = sequence / np.linalg.norm(sequence, axis=1, keepdims=True)
    lengths, starts = set(), set()
    for seed in range(60):
        span = span_of(random_span, sequence, seed)
        start = int(np.abs(units - span[0]).sum(axis=1).argmin())
        np.testing.assert_allclose(span, units[start : start + len(span)], rtol=1e-5)
        lengths.add(len(span))
        starts.add(start)
    assert lengths == set(range(2, 9)) and {0, 12} <= starts
    np.testing.assert_allclose(span_of(first_span, sequence), units[:8], rtol=1e-5)


@pytest.mark.parametrize(("length", "shown"), [(1, 8), (2, 6), (4, 8), (5, 5)])
def test_short_sequences_are_repeated(length, shown):
    sequence = np.eye(5, dtype=np.float32)[:length]
    span = span_of(first_span, sequence)
    np.testing.assert_array_equal(span, np.tile(sequence, (8, 1))[:shown])


def test_what_is_no_sequence_is_named():
    for wrong in (np.zeros(3), np.zeros((3, 2), int), np.full((3, 2), np.nan)):
        with pytest.raises(BadImage):
            as_stored(None, wrong, channels=2)
    with pytest.raises(DataError, match=r"input\.channels=5"):
        as_stored(None, np.zeros((3, 5)), channels=2)


def test_stories_repeat_and_their_scenes_come_back():
    first, again, other = (stories(count=40, seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    lengths = [len(each.encoded) for each in first]
    assert min(lengths) >= 8 and max(lengths) <= 32 and len(set(lengths)) > 8
    returns = 0
    for each in first:
        cosines = np.corrcoef(each.encoded)
        returns += (np.triu(cosines, 6) > 0.5).any()
    assert returns > 30
