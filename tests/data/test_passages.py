"""Passages of Python's reference: splits, windows, and what is refused."""

import pydoc_data.topics

import numpy as np
import pytest

from maskmim.data.passages import as_indices, first_window, passages, random_window
from maskmim.data.records import BadImage, DataError, Records

RNG = np.random.default_rng(0)


def test_train_and_test_share_no_passage_and_are_the_whole_text():
    parts = {split: passages(split=split, length=1000) for split in ("train", "test")}
    text = "\n\n".join(text for _, text in sorted(pydoc_data.topics.topics.items())).encode()
    found = [
        bytes(records[index].encoded) for records in parts.values() for index in range(len(records))
    ]
    cut = [text[start : start + 1000] for start in range(0, len(text) // 1000 * 1000, 1000)]
    assert sorted(found) == sorted(cut)
    assert len(parts["test"]) == round(0.1 * len(cut))
    assert all(isinstance(records, Records) for records in parts.values())


def test_a_split_depends_on_the_seed_alone():
    first, again = (passages(split="test", length=500, seed=3) for _ in range(2))
    other = passages(split="test", length=500, seed=4)
    same = [np.array_equal(first[n].encoded, again[n].encoded) for n in range(len(first))]
    assert all(same) and first.fingerprint == again.fingerprint
    assert not np.array_equal(first[0].encoded, other[0].encoded)
    prints = {passages(split=s, length=n).fingerprint for s in ("train", "test") for n in (9, 500)}
    assert len(prints) == 4
    assert (
        passages(split="train", length=500, seed=4).fingerprint
        != passages(split="train", length=500, seed=3).fingerprint
    )


def test_a_record_is_bytes_without_labels():
    records = passages(split="train", length=64)
    example = records[5]
    assert example.encoded.dtype == np.uint8 and example.encoded.shape == (64,)
    assert example.labels == {} == records.labels and records.name(5) == "passages train[5]"
    with pytest.raises(IndexError, match="record -1"):
        records[-1]


def test_windows_are_parts_of_the_sequence():
    sequence = as_indices(RNG, b"abcdefgh")
    assert sequence.shape == (8, 1) and sequence.dtype == np.uint8
    starts = {bytes(random_window(RNG, sequence, size=(5,))[:, 0]) for _ in range(200)}
    assert starts == {b"abcde", b"bcdef", b"cdefg", b"defgh"}
    assert bytes(first_window(RNG, sequence, size=(5,))[:, 0]) == b"abcde"
    assert bytes(random_window(RNG, sequence, size=(8,))[:, 0]) == b"abcdefgh"
    ids = as_indices(RNG, np.array([7, 70_000], np.int32))
    assert ids.tolist() == [[7], [70_000]]


def test_what_is_no_sequence_or_too_short_is_refused():
    with pytest.raises(BadImage, match=r"float32\[3\]"):
        as_indices(RNG, np.zeros(3, np.float32))
    with pytest.raises(BadImage, match=r"uint8\[2, 2\]"):
        as_indices(RNG, np.zeros((2, 2), np.uint8))
    sequence = as_indices(RNG, b"abc")
    for window in (random_window, first_window):
        with pytest.raises(DataError, match=r"3 values is shorter than input\.size 4"):
            window(RNG, sequence, size=(4,))
        with pytest.raises(DataError, match="2x2 has 2 axes"):
            window(RNG, sequence, size=(2, 2))
    with pytest.raises(DataError, match="leave no passage for split=test"):
        passages(split="test", length=400_000)
