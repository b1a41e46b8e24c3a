"""Parts of a source: which records, whose names, and what is refused."""

import numpy as np
import pytest

from maskmim.config import bind, brick
from maskmim.data.grocery import grocery
from maskmim.data.records import DataError, Records
from maskmim.data.subset import all_but_every_nth, every_nth


def source():
    return grocery(split="val")


@pytest.mark.parametrize(("every", "start"), [(1, 0), (3, 0), (4, 2), (7, 295)])
def test_a_part_has_the_records_of_a_slice(every, start):
    part, whole = every_nth(source=source, every=every, start=start), source()
    wanted = list(range(len(whole)))[start::every]
    assert isinstance(part, Records)
    assert part.labels == whole.labels
    assert [part.name(i) for i in range(len(part))] == [whole.name(i) for i in wanted]
    assert bytes(part[len(part) - 1].encoded) == bytes(whole[wanted[-1]].encoded)
    assert part[0].labels == whole[wanted[0]].labels


def test_both_parts_are_the_whole():
    keywords = {"source": source, "every": 5, "start": 3}
    parts = every_nth(**keywords), all_but_every_nth(**keywords)
    names = [part.name(i) for part in parts for i in range(len(part))]
    assert sorted(names) == sorted(source().name(i) for i in range(296))
    assert np.all([len(part) for part in parts] == np.array([59, 237]))


def test_fingerprints_tell_parts_apart():
    parts = [
        every_nth(source=source, every=2),
        every_nth(source=source, every=2, start=1),
        all_but_every_nth(source=source, every=2),
        source(),
    ]
    assert len({part.fingerprint for part in parts}) == 4


def test_a_part_is_a_brick_around_a_brick():
    whole = brick("maskmim.data.grocery.grocery", split="val")
    part = bind(brick("maskmim.data.subset.every_nth", source=whole, every=10))()
    assert len(part) == 30


def test_what_is_not_there_is_refused():
    part = every_nth(source=source, every=100)
    with pytest.raises(IndexError, match="record 3 of 3"):
        part[3]
    with pytest.raises(DataError, match="none of the 296 records is left"):
        every_nth(source=source, every=1, start=296)
    with pytest.raises(DataError, match="all but every 1 from 0: none"):
        all_but_every_nth(source=source, every=1)
