import itertools

import numpy as np
import pytest

from maskmim.data.arrays import ArrayRecords
from maskmim.data.records import DataError, Records, manifest_digest


def test_the_digest_depends_on_names_and_sizes_and_not_on_order():
    entries = [("a", 1), ("b", 2), ("c", 3)]
    digests = {manifest_digest(order) for order in itertools.permutations(entries)}
    assert len(digests) == 1 and len(digests.pop()) == 64
    others = [entries[:2], [("a", 1), ("b", 2), ("d", 3)], [("a", 1), ("b", 2), ("c", 4)]]
    assert len({manifest_digest(other) for other in [entries, *others]}) == 4


def test_arrays_are_records():
    images = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    labels = {"kind": np.array([1, 0])}
    records = ArrayRecords(images, labels, classes={"kind": ("x", "y")}, title="t")
    assert isinstance(records, Records) and len(records) == 2
    assert np.array_equal(records[1].encoded, images[1]) and records[1].labels == {"kind": 0}
    assert records.name(1) == "t[1]" and records.labels == {"kind": ("x", "y")}
    for index in (-1, 2):
        with pytest.raises(IndexError):
            records[index]


@pytest.mark.parametrize(
    "images, labels, classes, message",
    [
        (np.zeros((2, 3, 3, 3)), {}, {}, "u8"),
        (np.zeros((2, 3, 3), np.uint8), {}, {}, "u8"),
        (np.zeros((2, 3, 3, 1), np.uint8), {"k": [0]}, {"k": ("a",)}, "one label per image"),
        (np.zeros((1, 3, 3, 1), np.uint8), {"k": [0]}, {}, "one label per image"),
        (np.zeros((1, 3, 3, 1), np.uint8), {"k": [0]}, {"k": ("a", "a")}, "distinct class names"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(images, labels, classes, message):
    with pytest.raises(DataError, match=message):
        ArrayRecords(images, labels, classes=classes, title="t")
