"""Captions say what the maps of a scene show, and become indices of words."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from maskmim.data.captions import (
    LEAST,
    caption_ids,
    caption_of,
    captioned_scenes,
    known_words,
    word_count,
)
from maskmim.data.records import DataError, Records
from maskmim.data.scenes import EIGHT
from maskmim.data.words import word_ids

CLASSES = ("Apple", "Pear", "Milk", "Red-Beet")


def maps_of(background, *objects, size=(20, 20)):
    """Maps of a scene with a background's class and objects (class, rows, columns), far to near."""
    classes, order = np.full(size, background, np.uint8), np.zeros(size, np.uint8)
    for number, (label, rows, columns) in enumerate(objects, start=1):
        classes[rows, columns], order[rows, columns] = label, number
    return {"classes": classes[..., None], "instances": order[..., None], "order": order[..., None]}


TOP, BOTTOM, MIDDLE = slice(0, 6), slice(12, 18), slice(7, 13)


@pytest.mark.parametrize(
    ("maps", "caption"),
    [
        (maps_of(2), "in front of milk"),
        (maps_of(2, (0, MIDDLE, MIDDLE)), "apple in front of milk"),
        (maps_of(2, (0, slice(0, 20), slice(0, 20))), "apple"),
        (maps_of(2, (0, TOP, MIDDLE), (1, BOTTOM, MIDDLE)), "pear below apple in front of milk"),
        (maps_of(2, (0, BOTTOM, MIDDLE), (1, TOP, MIDDLE)), "pear above apple in front of milk"),
        (maps_of(1, (3, TOP, TOP), (0, TOP, BOTTOM)), "apple right of red-beet in front of pear"),
        (
            maps_of(3, (0, BOTTOM, BOTTOM), (2, TOP, BOTTOM), (1, TOP, TOP)),
            "pear left of milk above apple in front of red-beet",
        ),
        # The farther object shows 16 of 400 pixels, less than 5 %; the nearest is always named.
        (maps_of(2, (0, slice(0, 4), slice(0, 4)), (1, MIDDLE, MIDDLE)), "pear in front of milk"),
        (
            maps_of(2, (1, MIDDLE, MIDDLE), (0, slice(0, 4), slice(0, 4))),
            "apple left of pear in front of milk",
        ),
    ],
)
def test_captions_of_maps(maps, caption):
    assert caption_of(maps, CLASSES) == caption


def sentence_of(ids):
    """The words of indices, which are checked to have a start, an end and nothing behind."""
    ids, last = list(ids), word_count() - 1
    assert ids[0] == last - 1
    end = ids.index(last)
    assert not any(ids[end + 1 :])
    return [known_words()[i - 1] for i in ids[1:end]]


def test_captions_agree_with_the_maps_of_their_scenes():
    records = captioned_scenes(split="val", count=60, objects=(1, 3))
    assert isinstance(records, Records) and records.labels == {"object": EIGHT}
    names, places = [name.lower() for name in EIGHT], set()
    for index in range(60):
        example = records[index]
        maps = {name: array[..., 0] for name, array in example.encoded.items()}
        words = sentence_of(example.fields["caption"])
        near = maps["order"] == maps["order"].max()
        assert words[0] == names[maps["classes"][near][0]] == names[example.labels["object"]]
        behind = maps["order"] == 0
        if behind.mean() >= LEAST:
            assert words[-4:] == ["in", "front", "of", names[maps["classes"][behind][0]]]
            words = words[:-4]
        seen = [n for n in range(maps["order"].max(), 0, -1) if (maps["order"] == n).any()]
        large = [n for n in seen[1:] if (maps["order"] == n).mean() >= LEAST]
        middles = ndimage.center_of_mass(np.ones(near.shape), maps["order"], [seen[0], *large])
        for (row, column), (other_row, other_column) in pairwise(middles):
            place = words[1]
            places.add(place)
            words = words[3:] if place in ("left", "right") else words[2:]
            apart = {
                "left": other_column - column,
                "right": column - other_column,
                "above": other_row - row,
                "below": row - other_row,
            }
            assert apart[place] == max(apart.values())
        assert len(words) == 1
    assert places == {"left", "right", "above", "below"}
    assert "scene 3, " in records.name(3)


def test_captions_are_the_same_at_every_reading_and_differ_by_their_length():
    one, two = (captioned_scenes(split="val", count=5) for _ in range(2))
    np.testing.assert_array_equal(one[1].fields["caption"], two[1].fields["caption"])
    assert one.fingerprint == two.fingerprint
    others = {"length": 20}, {"vocabulary": 99}, {"count": 6}, {"seed": 1}
    marks = {
        captioned_scenes(**{"split": "val", "count": 5, **each}).fingerprint for each in others
    }
    assert len(marks | {one.fingerprint}) == 5


def test_four_objects_fit_into_a_caption():
    records = captioned_scenes(split="val", count=20, objects=(4, 4), names=(), diameter=1.2)
    longest = max(np.count_nonzero(records[i].fields["caption"]) for i in range(20))
    assert longest > 12


def test_indices_of_words():
    words = ("red", "blue")
    ids = word_ids("blue red blue", words, length=7, vocabulary=9)
    assert ids.dtype == np.int32 and ids.tolist() == [7, 2, 1, 2, 8, 0, 0]
    assert caption_ids("apple", length=3, vocabulary=49_408)[2] == 49_407
    with pytest.raises(DataError, match="has 'green', which is none of red, blue"):
        word_ids("red green", words, length=7, vocabulary=9)
    with pytest.raises(DataError, match="has 5 indices, but 4 are allowed"):
        word_ids("red red red", words, length=4, vocabulary=9)
    with pytest.raises(DataError, match=r"vocabulary of 4 has no place .* at least 5"):
        word_ids("red", words, length=4, vocabulary=4)
