"""Each stream of a record by its own decoder."""

from functools import partial

import numpy as np
import pytest

from maskmim.data.decode import as_stored, picture, scaled
from maskmim.data.decode_each import decoders_of, each
from maskmim.data.decoder_check import check_same_meaning
from maskmim.data.image_check import check_same_scale, stream_remarks
from maskmim.data.label_maps import label_map
from maskmim.data.records import BadImage, DataError
from maskmim.types import Spec
from tests.data.test_batch_arrays import records

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 5, 3), np.uint8)
MAP = RNG.integers(0, 7, (6, 5), np.uint8)
BOTH = {"image": picture, "map": label_map}


def test_every_stream_has_its_decoder():
    made = each(RNG, {"image": PIXELS, "map": MAP}, {"image": 3, "map": 1}, streams=BOTH)
    np.testing.assert_array_equal(made["image"], PIXELS)
    np.testing.assert_array_equal(made["map"], MAP[..., None])


def test_what_no_decoder_is_named_for_is_left_out():
    assert list(each(RNG, {"image": PIXELS, "map": MAP}, 3, streams={"image": picture})) == [
        "image"
    ]


def test_a_record_of_one_thing_is_the_only_stream():
    made = each(RNG, PIXELS, 3, streams={"image": picture})
    np.testing.assert_array_equal(made["image"], PIXELS)
    with pytest.raises(DataError, match=r"hold one thing each, but .* image, map"):
        each(RNG, PIXELS, 3, streams=BOTH)


def test_a_missing_stream_is_a_sentence():
    with pytest.raises(DataError, match=r"data.decode.streams has 'map', the records have image"):
        each(RNG, {"image": PIXELS}, {"image": 3}, streams=BOTH)


def test_an_unreadable_stream_makes_the_record_bad_and_is_named():
    with pytest.raises(BadImage, match=r"^empty file") as caught:
        each(RNG, {"image": PIXELS, "map": b""}, {"image": 3, "map": 1}, streams=BOTH)
    assert caught.value.stream == "map"


def test_checks_of_decoders_look_into_every_stream():
    def of(**decoders):
        return partial(each, streams=decoders)

    one, other = of(image=picture, depth=scaled), of(image=picture, depth=as_stored)
    assert list(decoders_of(one)) == ["image", "depth"] and list(decoders_of(picture)) == [""]
    check_same_scale(one, one)
    with pytest.raises(DataError, match=r"data.decode.streams.depth is scaled.*as_stored"):
        check_same_scale(one, other)
    slow, fast = (of(a=partial(lambda rng, encoded, channels, *, rate: 0, rate=r)) for r in (1, 2))
    check_same_meaning(slow, slow)
    with pytest.raises(DataError, match=r"data.decode.streams.a.rate is 1"):
        check_same_meaning(slow, fast)


def test_the_range_of_each_stream_is_looked_at():
    deep = [np.full((4, 4, 1), 7, np.uint16) for _ in range(3)]
    source = records([{"image": PIXELS, "depth": one, "map": MAP} for one in deep])
    amount = Spec((4, 4), 1, (0.5,), (0.5,), stream="depth", dtype="float32")
    spec = Spec((4, 4), 3, (0.5,) * 3, (0.5,) * 3, streams={"depth": amount})
    lines = stream_remarks(source, partial(each, streams={**BOTH, "depth": scaled}), spec)
    assert len(lines) == 1 and lines[0].startswith("depth: note: 3 sampled images of type uint16")
