"""Patterns of an optimiser that match no parameter."""

from __future__ import annotations

from maskmim.config.bricks import brick
from maskmim.config.patterns import chosen_patterns, without_match
from maskmim.optim import adamw, adamw_by_path, without_spikes

NAMES = ("encoder/blocks/attention/qkv/bias", "encoder/norm/scale", "encoder/class_token")


def test_a_pattern_without_a_match_is_named_with_some_parameters():
    section = brick(adamw, no_decay=("bias$", "biass$"))
    (said,) = without_match(section, "optim", NAMES)
    assert said.startswith("optim.no_decay: the pattern 'biass$' matches none of the 3 parameters")
    assert "encoder/norm/scale" in said


def test_defaults_need_no_match():
    assert without_match(brick(adamw), "optim", ("nothing",)) == []


def test_the_patterns_of_factors_and_of_inner_optimisers_are_searched_for():
    rates = (("^decoder/", 0.5), ("^encoder/", 2.0))
    inner = brick(adamw_by_path, lr=1.0, rates=rates)
    section = brick(without_spikes, optimiser=inner, lr=1.0)
    assert list(chosen_patterns(section, "optim")) == [
        ("optim.optimiser.rates", "^decoder/"),
        ("optim.optimiser.rates", "^encoder/"),
    ]
    (said,) = without_match(section, "optim", NAMES)
    assert "'^decoder/'" in said
