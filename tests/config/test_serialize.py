"""Configs as JSON and back."""

import math

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from maskmim.config.load import override
from maskmim.config.serialize import differences, from_json, to_json
from tests.config.examples import (
    HERE,
    base,
    message,
)

text = st.text('aé"\\\n🙂', max_size=4)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), text)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple)),
    max_leaves=6,
)
keys = st.text("abcdef_", min_size=1, max_size=4).filter(lambda key: not key.startswith("__"))
sections = st.recursive(
    st.dictionaries(keys, values, max_size=3),
    lambda inner: st.dictionaries(keys, st.one_of(values, inner), max_size=3),
    max_leaves=4,
)


def typed(value):
    """A value with the types of all its parts."""
    if isinstance(value, dict):
        return {key: typed(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return (type(value), [typed(part) for part in value])
    return (type(value), value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sections)
def test_json_gives_back_the_same_values_and_types(section):
    config = ConfigDict(section)
    assert typed(from_json(to_json(config)).to_dict()) == typed(config.to_dict())


def test_json_keeps_bricks_infinities_and_tuples_of_sections():
    config = base()
    with config.unlocked():
        config.several = (ConfigDict({"a": 1}), [1, (2,)], math.inf)
    back = from_json(to_json(config))
    assert back == config
    assert back.is_locked
    assert "Infinity" not in to_json(config)
    assert math.isnan(from_json(to_json(ConfigDict({"x": math.nan}))).x)


def test_json_refuses_what_it_cannot_give_back():
    said = message(to_json, ConfigDict({"a": {"f": print}}))
    assert said.startswith("a.f = ")
    assert "cannot be stored" in said
    assert "keys must be plain text" in message(to_json, ConfigDict({"a": {3: 1}}))
    assert "no stored config" in message(from_json, "[1]")
    assert "no stored config" in message(from_json, "{")


def test_differences_are_readable_lines():
    new = override(base(), ["optim.lr=0.5", "train.limit=3", "input.size=8,8"])
    assert differences(base(), base()) == []
    assert differences(base(), new) == [
        "input.size: (224, 224) -> (8, 8)",
        "optim.lr: 0.00015 -> 0.5",
        "train.limit: None -> 3",
    ]
    other = override(base(), [f"mask.brick={HERE}.folder", "mask.path=x"])
    assert "mask.block: None -> (absent)" in differences(base(), other)
    assert "mask.path: (absent) -> 'x'" in differences(base(), other)
    path = "maskmim.teachers.momentum.constant"
    averaged = ConfigDict({"ema": {"brick": path, "value": 0.9}})
    assert differences(averaged, ConfigDict({"ema": None})) == [
        f"ema.brick: {path!r} -> (absent)",
        "ema.value: 0.9 -> (absent)",
    ]
    nan = ConfigDict({"x": math.nan})
    assert differences(nan, from_json(to_json(nan))) == []
