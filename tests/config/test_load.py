"""Overrides: types, other bricks, and the message of every mistake."""

import math

import pytest
from ml_collections import ConfigDict

from maskmim.config import defaults
from maskmim.config.load import add, override
from maskmim.config.parse import ConfigError
from tests.config.examples import (
    HERE,
    base,
    message,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("mask.ratio=0.6", 0.6),
        ("optim.lr=1", 1.0),
        ("optim.lr=1e-3", 1e-3),
        ("optim.lr=-2.5", -2.5),
        ("optim.clip=inf", math.inf),
        ("train.batch_size=1e3", 1000),
        ("train.batch_size=8", 8),
        ("train.fast=true", True),
        ("train.fast=False", False),
        ("train.name=a b=c", "a b=c"),
        ("train.name=12", "12"),
        ("train.name='None'", "None"),
        ("train.name='quoted'", "quoted"),
        ("train.limit=3", 3),
        ("train.limit=0.5", 0.5),
        ("train.limit=text", "text"),
        ("train.limit=None", None),
        ("mask.block=4", 4),
        ("mask.block=None", None),
        ("input.size=(96,96)", (96, 96)),
        ("input.size=96,96", (96, 96)),
        ("input.size=[96, 96]", (96, 96)),
        ("input.mean=0,1", (0.0, 1.0)),
        ("evals.at_end=knn,linear_probe", ("knn", "linear_probe")),
        ("evals.at_end=()", ()),
        ("evals.at_end=", ()),
    ],
)
def test_an_override_is_read_as_the_type_of_its_key(text, value):
    path = text.partition("=")[0]
    got = override(base(), [text])[path]
    assert (got, type(got)) == (value, type(value))
    if isinstance(value, tuple):
        assert [type(element) for element in got] == [type(element) for element in value]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mask.rtio=0.6", ["no key 'mask.rtio'", "did you mean 'mask.ratio'?"]),
        ("maks.ratio=0.6", ["did you mean 'mask.ratio'?"]),
        ("lr=0.1", ["did you mean 'optim.lr'?"]),
        ("train.epochs.x=1", ["did you mean 'train.epochs'?"]),
        ("zzzz=1", ["its sections are evals, input, mask"]),
        ("optim.lr=abc", ['optim.lr: expected a number, got "abc"']),
        ("optim.lr=None", ['optim.lr: expected a number, got "None"']),
        ("optim.lr=True", ['optim.lr: expected a number, got "True"']),
        ("train.batch_size=1.5", ['train.batch_size: expected a whole number, got "1.5"']),
        ("train.fast=1", ['train.fast: expected True or False, got "1"']),
        ("mask.block=x", ['mask.block: expected a whole number or None, got "x"']),
        ("input.size=96,a", ["input.size: expected a whole number", '"a"']),
        ("input.size=1.5,2", ["input.size: expected a whole number", '"1.5"']),
        ("mask=0.6", ["mask is a section", "mask.brick, mask.ratio"]),
        ("optim.lr", ["--config.optim.lr=VALUE"]),
    ],
)
def test_a_wrong_override_says_what_is_wrong(text, words):
    said = message(override, base(), [text])
    assert all(word in said for word in words), said


def test_an_override_changes_a_copy_and_locks_it():
    old = base()
    new = override(old, ["mask.ratio=0.5", "mask.ratio=0.6"])
    assert (old.mask.ratio, new.mask.ratio) == (0.75, 0.6)
    for section in (new, new.mask, new.train, new.teachers):
        assert section.is_locked


def test_annotations_of_a_brick_widen_what_its_value_shows():
    config = override(base(), ["mask.block=4"])
    assert override(config, ["mask.block=None"]).mask.block is None
    with config.ignore_type():
        config.optim.lr = 1
    assert override(config, ["optim.lr=0.5"]).optim.lr == 0.5


def test_another_brick_keeps_what_both_take_and_fills_in_the_rest():
    new = override(base(), ["mask.sigmas=1,3", f"mask.brick={HERE}.noise"])
    assert new.mask.to_dict() == {
        "brick": f"{HERE}.noise",
        "ratio": 0.75,
        "sigmas": (1.0, 3.0),
        "path": None,
    }


def test_another_brick_that_needs_a_value_asks_for_it():
    said = message(override, base(), [f"mask.brick={HERE}.folder"])
    assert "--config.mask.path=..." in said
    new = override(base(), [f"mask.brick={HERE}.folder", "mask.path=12"])
    assert (new.mask.path, new.mask.ratio) == ("12", 0.75)


def test_a_section_that_may_be_absent_is_taken_away_by_none():
    config = override(defaults.base(), ["evals.test=None"])
    assert config.evals.test is None
    with pytest.raises(ConfigError, match="model is a section, not a value"):
        override(defaults.base(), ["model=None"])


NEW_BRICKS = (
    "calls.classify.brick=maskmim.models.classifiers.linear",
    "calls.classify.classes=10",
    "objectives.label.brick=maskmim.objectives.label",
    "objectives.label.labels=fine",
    "evals.probes.near.brick=maskmim.evals.knn.knn",
    "evals.probes.near.k=3",
)


def test_flags_add_bricks_to_sections_of_any_names():
    config = override(defaults.base(), NEW_BRICKS)
    for text in NEW_BRICKS:
        path, value = text.split("=")
        assert str(config[path]) == value
    assert set(config.objectives) == {"pixels", "label"}
    said = message(override, defaults.base(), NEW_BRICKS[:1])
    assert "add --config.calls.classify.classes=..." in said
    said = message(override, defaults.base(), ["calls.x.brick=maskmim.objectives.label"])
    assert "calls.x.brick: maskmim.objectives.label does not fit" in said
    said = message(override, defaults.base(), ["calls=3"])
    assert "set one of its bricks, as in --config.calls.NAME.brick=PATH" in said
    assert "no key 'mask.of'" in message(override, defaults.base(), [f"mask.of.brick={HERE}.noise"])


def test_a_number_in_place_of_a_brick_lists_the_bricks():
    said = message(override, defaults.base(), ["ema=0.99"])
    assert said.startswith("ema takes a brick, not 0.99: put it there with --config.ema.brick=PATH")
    assert "there are maskmim.teachers.momentum.constant, maskmim.teachers.momentum.cosine" in said


def test_a_brick_that_does_not_exist_names_the_nearest():
    said = message(override, base(), [f"mask.brick={HERE}.samplr"])
    assert said.startswith("mask.brick: ")
    assert f"did you mean {HERE}.sampler?" in said


def test_stale_keywords_of_a_stored_brick_are_an_error():
    with base().unlocked() as config:
        config.mask = ConfigDict({"brick": f"{HERE}.sampler", "ratio": 0.5, "old": 1})
        said = message(override, config, [])
    assert said.startswith("mask: ")
    assert "has no 'old'" in said


def test_add_refuses_a_section_that_exists():
    config = base()
    assert "exists" in message(add, config, mask=1)
    add(config, fresh={"a": 1})
    assert config.fresh.a == 1
    assert config.is_locked
