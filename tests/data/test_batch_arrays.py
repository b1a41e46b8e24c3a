"""Batches of several streams and of fields: shapes, types, what is padded and what is refused."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from maskmim.config import facts
from maskmim.data.batch_arrays import output_shapes
from maskmim.data.decode import picture
from maskmim.data.decode_each import each
from maskmim.data.joint_crop import joint_center_crop, joint_crop
from maskmim.data.label_maps import label_map
from maskmim.data.one_example import check_example, check_labels
from maskmim.data.pipeline import eval_batches, train_batches
from maskmim.data.records import BadImage, DataError, Example
from maskmim.types import Field, Spec

KEYS = ("data.train", "data.decode", "data.augment")
MAP = Spec((6, 6), 1, (), (), stream="map", classes=9)
FIELDS = {"boxes": Field((2, 4), "float32"), "words": Field((3,), "int32")}
SPEC = Spec((8, 8), 3, (0.5,) * 3, (0.5,) * 3, streams={"map": MAP}, fields=FIELDS)
DECODE = partial(each, streams={"image": picture, "map": label_map})
CROP = partial(joint_crop, nearest=("map",), boxes=("boxes",), keep=("words",), flow=())


class Many:
    """Records from a list of what is stored, and of fields."""

    def __init__(self, encoded, fields):
        self.encoded, self.fields = encoded, fields
        self.labels, self.fingerprint = {"class": ("a", "b")}, ""

    def __len__(self):
        return len(self.encoded)

    def __getitem__(self, index):
        if self.encoded[index] is None:
            raise BadImage("a hole")
        return Example(self.encoded[index], {"class": index % 2}, self.fields)

    def name(self, index):
        return f"record {index}"


def records(encoded, fields=None):
    return Many(encoded, fields or {})


def source(count=7, **fields):
    rng = np.random.default_rng(0)
    encoded = [
        {
            "image": rng.integers(0, 256, (12, 14, 3), np.uint8),
            "map": rng.integers(0, 9, (12, 14), np.uint8),
            "other": b"not asked for",
        }
        for _ in range(count)
    ]
    given = {"boxes": np.float32([[0, 0, 1, 1]] * 2), "words": np.arange(3), **fields}
    return records(encoded, {name: value for name, value in given.items() if value is not None})


def train(data, spec=SPEC, **options):
    settings = {"batch_size": 4, "seed": 0, "decode": DECODE, "augment": CROP}
    return next(train_batches(data, spec=spec, **(settings | options)))


def test_a_batch_has_an_array_for_each_stream_and_field():
    batch = train(source())
    arrays = {n: (v.shape, str(v.dtype)) for n, v in batch.items() if isinstance(v, np.ndarray)}
    assert arrays == {
        "image": ((4, 8, 8, 3), "uint8"),
        "map": ((4, 6, 6, 1), "uint8"),
        "boxes": ((4, 2, 4), "float32"),
        "words": ((4, 3), "int32"),
        "record": ((4,), "int64"),
        "bad": ((4,), "int64"),
    }
    assert (batch["words"] == np.arange(3)).all() and batch["map"].max() < 9


def test_evaluations_pad_every_array_and_leave_bad_records_out():
    data = source(6)
    data.encoded[1] = None
    transform = partial(joint_center_crop, **CROP.keywords)
    batches = list(eval_batches(data, spec=SPEC, batch_size=4, decode=DECODE, transform=transform))
    assert [batch["valid"].tolist() for batch in batches] == [
        [True, False, True, True],
        [True, True, False, False],
    ]
    for name in ("image", "map", "boxes", "words"):
        assert len(batches[1][name]) == 4 and not batches[1][name][2:].any()
        assert batches[1][name].dtype == train(source())[name].dtype


def test_a_bad_stream_makes_its_record_bad():
    data = source(4)
    data.encoded[2]["map"] = b""
    batch = train(data)
    assert sorted(batch["bad"]) == [-1, -1, -1, 2]
    assert "map: empty file" in batch["reason"]


def test_fields_that_the_config_does_not_name_are_left_out():
    assert set(train(source(extra=np.zeros(3)))) == set(train(source()))
    alone = SPEC._replace(fields={})
    crop = partial(joint_crop, nearest=("map",))
    assert "boxes" not in train(source(), alone, augment=crop)


def test_a_field_beside_one_stream_joins_its_picture():
    seen = {}

    def look(rng, arrays, *, size):
        seen.update(arrays=arrays, size=size)
        return {**arrays, "image": arrays["image"][:8, :8]}

    spec = SPEC._replace(streams={}, fields={"words": FIELDS["words"]})
    data = records([np.zeros((9, 9, 3), np.uint8)] * 4, {"words": np.arange(3)})
    assert train(data, spec, decode=picture, augment=look)["words"].shape == (4, 3)
    assert list(seen["arrays"]) == ["image", "words"]
    assert seen["size"] == {"image": (8, 8), "words": (3,)}


def test_one_stored_picture_may_become_all_streams():
    def derive(rng, arrays, *, size):
        image = arrays["image"][:8, :8]
        return {"image": image, "map": image[:6, :6, :1] % 9}

    spec = SPEC._replace(fields={})
    data = records([np.full((9, 9, 3), 77, np.uint8)] * 4)
    assert (train(data, spec, decode=picture, augment=derive)["map"] == 77 % 9).all()


def test_a_field_without_channels_takes_a_map_of_one():
    spec = SPEC._replace(streams={}, fields={"map": Field((6, 6), "int32")})
    batch = train(source(), spec, augment=partial(joint_crop, nearest=("map",)))
    assert batch["map"].shape == (4, 6, 6) and batch["map"].dtype == np.int32


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_indices_of_one_axis_pass_as_they_are(dtype):
    classes = {"uint8": 256, "int32": 30522}[dtype]
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, classes, (12, 1)).astype(dtype) for _ in range(6)]
    spec = Spec((8,), 1, (), (), stream="text", dtype=dtype, classes=classes)

    def window(rng, ids, *, size):
        return ids[: size[0]]

    def plain(rng, encoded, channels):
        return encoded

    batch = train(records(texts), spec, decode=plain, augment=window)
    assert batch["text"].shape == (4, 8, 1) and batch["text"].dtype == dtype
    for row, record in zip(batch["text"], batch["record"], strict=True):
        np.testing.assert_array_equal(row, texts[record][:8])
    check_example(records(texts), plain, window, spec, KEYS)
    fewer = spec._replace(classes=10)
    with pytest.raises(DataError, match=r"'text' has the index \d+.* 0 ... 9: set input.class"):
        check_example(records(texts), plain, window, fewer, KEYS)


def made_like(**changes):
    """An augmentation that makes what SPEC says, but for changes."""
    right = {
        "image": np.zeros((8, 8, 3), np.uint8),
        "map": np.zeros((6, 6, 1), np.uint8),
        "boxes": np.zeros((2, 4), np.float32),
        "words": np.zeros(3, np.int64),
    }
    made = {name: array for name, array in {**right, **changes}.items() if array is not None}
    return lambda rng, arrays, *, size: made


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"map": None}, "and not 'map'"),
        ({"words": None}, "and not 'words'"),
        ({"map": np.zeros((6, 6), np.uint8)}, r"'map' of shape \(6, 6\).*\(6, 6, 1\)"),
        ({"image": np.zeros((8, 8, 1), np.uint8)}, r"'image' of shape \(8, 8, 1\)"),
        ({"boxes": np.zeros((3, 4), np.float32)}, r"'boxes' of shape \(3, 4\).*\(2, 4\)"),
        ({"words": np.zeros(3, np.float32)}, "float32 where input.fields.words.dtype is int32"),
        ({"boxes": np.zeros((2, 4), int)}, "int64 where input.fields.boxes.dtype is float32"),
        ({"image": np.zeros((8, 8, 3), np.float32)}, "float32 where input.dtype is uint8"),
        ({"map": np.full((6, 6, 1), 9, np.uint8)}, "'map' has the index 9.*0 ... 8: set data"),
        ({"map": np.full((6, 6, 1), -1)}, "'map' has the value -1"),
        ({"words": np.full(3, 2**40)}, "from 1099511627776 .*input.fields.words.dtype is int32"),
    ],
)
def test_an_array_that_does_not_fit_is_named(changes, words):
    augment = made_like(**changes)
    train(source(), augment=made_like())
    with pytest.raises(DataError, match=rf"^record \d: .*{words}"):
        train(source(), augment=augment)
    with pytest.raises(DataError, match=words):
        check_example(source(), DECODE, augment, SPEC, KEYS)


def test_the_first_example_is_tried_with_all_its_arrays():
    check_example(source(), DECODE, CROP, SPEC, KEYS)
    with pytest.raises(DataError, match=r"would interpolate 'map'.*data.augment.nearest=map"):
        check_example(source(), DECODE, partial(CROP, nearest=()), SPEC, KEYS)
    with pytest.raises(DataError, match=r"data.augment.*and not 'boxes'"):
        spec = SPEC._replace(fields={"boxes": FIELDS["boxes"]})
        crop = partial(joint_crop, nearest=("map",), flow=(), boxes=(), keep=())
        check_example(source(boxes=None), DECODE, crop, spec, KEYS)


def test_an_augmentation_says_shape_and_type_of_what_it_makes():
    @facts.augmentation(makes=lambda size, channels: {"a": (2, *size, 3), "b": ((5,), "int32")})
    def two(rng, image, size):
        return {}

    alone = SPEC._replace(streams={}, fields={})
    assert output_shapes(two, alone) == {
        "a": Field((2, 8, 8, 3), "uint8"),
        "b": Field((5,), "int32"),
    }


def test_label_sets_that_the_method_learns_from_are_compared_with_the_data():
    data = SimpleNamespace(labels={"class": ("a", "b"), "other": ("x",)})
    check_labels(data, SPEC._replace(labels={"class": 2}))
    check_labels(data, SPEC._replace(labels={"class": 100}))
    with pytest.raises(DataError, match=r"has 'kind', the training data have class, other"):
        check_labels(data, SPEC._replace(labels={"kind": 2}))
    with pytest.raises(DataError, match=r"'class' has 2 classes: set input.labels.class=2"):
        check_labels(data, SPEC._replace(labels={"class": 1}))
    with pytest.raises(DataError, match="no labels"):
        check_labels(SimpleNamespace(labels={}), SPEC._replace(labels={"class": 1}))
