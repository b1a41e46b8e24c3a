"""Streams, fields and label sets of `config.input`, and what does not fit together."""

import pytest

from maskmim.config.defaults import base, field, stream
from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.errors import UserError
from maskmim.training.build import spec_of
from maskmim.types import Field

DEPTH = [
    "input.streams.depth.channels=1",
    "input.streams.depth.mean=0.5,",
    "input.streams.depth.std=0.25,",
]


def spec(*changes):
    return spec_of(load("mae:tiny", changes))


def test_flags_make_streams_fields_and_label_sets():
    made = spec(
        *DEPTH,
        "input.streams.depth.dtype=float32",
        "input.streams.map.classes=300",
        "input.streams.map.channels=1",
        "input.streams.map.dtype=int32",
        "input.streams.map.size=8",
        "input.fields.boxes.shape=4,5",
        "input.fields.known.shape=()",
        "input.fields.known.dtype=bool",
        "input.labels.coarse=43",
    )
    assert list(made.arrays) == ["image", "depth", "map"] and made.size == (32, 32)
    depth, classes = made.streams["depth"], made.streams["map"]
    assert (depth.stream, depth.shape, depth.dtype) == ("depth", (32, 32, 1), "float32")
    assert (depth.mean, depth.std, depth.classes) == ((0.5,), (0.25,), 0)
    assert (classes.shape, classes.dtype, classes.classes) == ((8, 8, 1), "int32", 300)
    assert (classes.mean, classes.std) == ((), ())
    assert made.fields == {"boxes": Field((4, 5), "float32"), "known": Field((), "bool")}
    assert made.labels == {"coarse": 43}


def test_a_config_file_makes_them_too():
    config = base()
    config.input.streams = {"map": stream(channels=1, classes=7)}
    config.input.fields = {"text": field(shape=(12,), dtype="int32")}
    config.input.labels = {"class": 3}
    made = spec_of(config)
    assert made.streams["map"].size == made.size == (224, 224)
    assert made.fields["text"] == Field((12,), "int32") and made.labels == {"class": 3}
    with pytest.raises(KeyError):
        stream(chanels=1)


def test_integers_of_one_axis_are_a_stream():
    config = load("mae:tiny", ["input.stream=text", "input.channels=1", "input.classes=30522"])
    config.input.size, config.input.dtype = (64,), "int32"
    made = spec_of(config)
    assert (made.shape, made.classes, made.mean) == ((64, 1), 30522, ())


def test_one_mean_is_that_of_all_channels():
    config = load("mae:tiny", ["input.mean=0.5", "input.std=0.25"])
    made = spec_of(config)
    assert (made.mean, made.std) == ((0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["input.streams.image.classes=4"], "input.streams has 'image', as input.stream has too"),
        (["input.streams.label.classes=4"], "'label', which every batch has for itself"),
        (["input.stream=record"], "input.stream is 'record', which every batch has"),
        (["input.stream="], "input.stream is '': give it a name"),
        (["input.fields.valid.shape=3"], "input.fields has 'valid'"),
        ([*DEPTH, "input.fields.depth.shape=3"], "'depth', as input.streams has too"),
        (["input.streams.d.channels=2"], r"input.streams.d.mean has 3 values.*channels is 2"),
        (["input.mean=0,1"], r"input.mean has 2 values, input.std 3"),
        ([*DEPTH, "input.streams.depth.classes=257"], r"257.*256 values.*depth.dtype=int32"),
        ([*DEPTH, "input.streams.depth.dtype=int32"], r"give input.streams.depth.classes"),
        (
            ["input.dtype=float32", "input.classes=9", "input.channels=1"],
            r"input.classes is 9.*float",
        ),
        (["input.streams.map.classes=9"], r"map.channels is 3: an index has one channel"),
        ([*DEPTH, "input.streams.depth.channel_names=a,b"], r"streams.depth.channel_names has 2"),
    ],
)
def test_what_does_not_fit_together_is_a_sentence(changes, words):
    with pytest.raises(UserError, match=words):
        spec(*changes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("input.fields.boxes.dtype=float32", r"input.fields.boxes.shape: expected a tuple.*None"),
        ("input.fields.boxes.shape=0,4", r"boxes.shape: expected a tuple of whole numbers of at l"),
        ("input.fields.boxes.dtype=float64", r"boxes.dtype: expected .*did you mean 'float32'"),
        ("input.fields.boxes.shap=4", r"no key 'input.fields.boxes.shap'; did you mean"),
        ("input.labels.coarse=0", r"input.labels.coarse: expected a whole number of at least 1"),
        ("input.labels.coarse=many", r"input.labels.coarse: expected a whole number"),
        ("input.labels.coarse.x=3", r"no key 'input.labels.coarse.x'"),
        ("input.streams=depth", r"as in --config.input.streams.NAME.channels=1"),
        ("input.streams.depth=1", r"input.streams.depth is a section, not a value"),
        ("input.streams.depth.size=0", r"depth.size: expected one or more whole numbers"),
        ("input.streams.depth.std=0,0,0", r"depth.std: expected one or more numbers above 0"),
        ("input.streams.depth.kind=3", r"input.streams.depth.kind"),
        ("input.classes=-1", r"input.classes: expected a whole number of at least 0"),
        ("data.repeats=0", r"data.repeats: expected a whole number of at least 1"),
    ],
)
def test_values_out_of_range_are_named_with_their_key(change, words):
    with pytest.raises(ConfigError, match=words):
        load("mae:tiny", [change])


def test_one_number_is_the_size_of_all_axes_of_a_stream():
    assert spec(*DEPTH, "input.streams.depth.size=16").streams["depth"].size == (16, 16)
    assert spec(*DEPTH, "input.streams.depth.size=16,24").streams["depth"].size == (16, 24)
