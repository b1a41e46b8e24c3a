"""Pixels of no class, from a decoder's `void` to the batch."""

from functools import partial

import numpy as np
import pytest

from maskmim.data.decode import picture
from maskmim.data.decode_each import each
from maskmim.data.decoder_check import check_same_meaning
from maskmim.data.joint_crop import joint_center_crop, joint_crop
from maskmim.data.label_maps import label_map
from maskmim.data.no_class import UnknownClass, advice, voids_of
from maskmim.data.one_example import check_example
from maskmim.data.pipeline import eval_batches, train_batches
from maskmim.data.records import DataError
from maskmim.types import Spec
from tests.data.test_batch_arrays import KEYS, records

CROP = partial(joint_crop, nearest=("map",), flow=(), boxes=(), keep=())
CENTRE = partial(joint_center_crop, **CROP.keywords)


def spec(classes=9, dtype="uint8"):
    inner = Spec((6, 6), 1, (), (), stream="map", classes=classes, dtype=dtype)
    return Spec((8, 8), 3, (0.5,) * 3, (0.5,) * 3, streams={"map": inner})


def decoders(**keywords):
    given = partial(label_map, **{"classes": 9, "void": None, **keywords})
    return partial(each, streams={"image": picture, "map": given})


def source(void, count=5):
    """Records of which the left half of each map is void."""
    rng = np.random.default_rng(0)
    maps = rng.integers(1, 9, (count, 12, 14))
    maps[:, :, :7] = void
    image = rng.integers(0, 256, (12, 14, 3), np.uint8)
    return records([{"image": image, "map": one} for one in maps])


@pytest.mark.parametrize("void", [255, 9, 0, 65535])
@pytest.mark.parametrize(("dtype", "most"), [("uint8", 255), ("int32", 2**31 - 1)])
def test_void_is_the_largest_number_in_every_batch(void, dtype, most):
    data, decode = source(void), decoders(void=void)
    check_example(data, decode, CROP, spec(dtype=dtype), KEYS)
    settings = {"spec": spec(dtype=dtype), "batch_size": 5, "decode": decode}
    train = next(train_batches(data, seed=0, augment=CROP, **settings))["map"]
    (test,) = eval_batches(data, transform=CENTRE, **settings)
    assert (test["map"][:, :, :3] == most).all() and test["map"].dtype == dtype
    for maps in (train, test["map"]):
        assert set(np.unique(maps)) <= {*range(1, 9), most}
        assert (maps == most).any() and (maps < 9).any()


@pytest.mark.parametrize("decoder_classes", [0, 9])
def test_an_index_that_is_not_named_says_which_keys_cure_it(decoder_classes):
    data, decode = source(255), decoders(classes=decoder_classes)
    also = r" and \S+decode.streams.map.classes=256" if decoder_classes else ""
    words = (
        r"'map' has the index 255, but its classes are 0 ... 8: set {0}.decode.streams.map.void=255"
        r" if it stands for no class, or set input.streams.map.classes=256" + also
    )
    settings = {"spec": spec(), "batch_size": 5, "decode": decode}
    with pytest.raises(DataError, match=words.format("data")):
        check_example(data, decode, CROP, spec(), KEYS)
    with pytest.raises(DataError, match=words.format("data")):
        next(train_batches(data, seed=0, augment=CROP, **settings))
    with pytest.raises(DataError, match=words.format("evals")):
        list(eval_batches(data, transform=CENTRE, **settings))


def test_the_keys_of_a_decoder_alone_are_those_of_the_main_stream():
    main = Spec((6, 6), 1, (), (), classes=9)
    said = advice(UnknownClass(12, 9), main, partial(label_map, classes=9, void=None))
    assert "data.decode.void=12 if" in said and "input.classes=13 and data.decode.classes" in said
    assert "void" not in advice(UnknownClass(12, 9), main, lambda rng, encoded, channels: encoded)
    assert voids_of(partial(label_map, void=3), main) == {"image": 3}


def test_all_numbers_of_a_byte_leave_none_for_void():
    with pytest.raises(DataError, match=r"map.void is 7, but the 256 .* input.streams.map.dtype"):
        voids_of(decoders(void=7), spec(classes=256))
    assert voids_of(decoders(void=7), spec(classes=256, dtype="int32")) == {"map": 7}
    assert voids_of(decoders(), spec()) == {}


def test_trainings_and_evaluations_leave_the_same_pixels_out():
    with pytest.raises(DataError, match=r"map.void is 255, but evals.decode.streams.map.void is N"):
        check_same_meaning(decoders(void=255), decoders())
