"""Kinds of bricks: a function of another kind is refused by a sentence that names its key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optax
import pytest

from maskmim import losses, masks, optim
from maskmim.config import base, kinds, load, override
from maskmim.config.bricks import BrickError, hyperparameters, resolve
from maskmim.config.kinds import kind_of, misfit, names_of_kind, suggestion
from maskmim.mask_tools.discovery import samplers
from maskmim.masks import uniform
from maskmim.types import Array, Context, Mask, Net, Randomness, Spec
from tests.config.examples import message


def unannotated(rng, ctx, *, ratio=0.5):
    """A sampler of someone's own package, without annotations."""


def loose(*args, **keywords):
    """Takes anything."""


class Window:
    """A class."""

    def __init__(self, size: int = 3):
        self.size = size


def test_every_brick_of_the_package_is_of_its_kind():
    of_views = [s.name for s in samplers() if misfit(s.function, kinds.SAMPLER)]
    assert of_views == [s.name for s in samplers() if s.views]
    for name in optim.__all__:
        assert not misfit(getattr(optim, name), kinds.OPTIMISER), name
    for name in losses.__all__:
        function = getattr(losses, name)
        if list(hyperparameters(function)) != [] or name == "squared_error":
            assert misfit(function, kinds.SAMPLER), name


@pytest.mark.parametrize(
    ("function", "kind", "words"),
    [
        (losses.squared_error, kinds.SAMPLER, "it returns Array"),
        (uniform.random, kinds.LOSS, "it returns Mask"),
        (uniform.random, kinds.TARGET, "it is called with (randomness, context)"),
        (optax.sgd, kinds.OPTIMISER, "it has no keyword lr and no lr_per"),
        (np.add, kinds.OPTIMISER, "keyword"),
        (optim.adamw, kinds.SCHEDULE, "it is called with (schedule, batch_size)"),
        (Window, kinds.SAMPLER, "it is a class"),
        (unannotated, kinds.SAMPLER, ""),
        (unannotated, kinds.LOSS, ""),
        (loose, kinds.OPTIMISER, ""),
        (Window, kinds.SOURCE, ""),
    ],
)
def test_a_signature_shows_whether_a_function_fits(function, kind, words):
    reason = misfit(function, kind)
    assert words in reason and bool(words) == bool(reason)


def test_annotations_name_their_kinds():
    assert kind_of(Callable[[Randomness, Context], Mask]) is kinds.SAMPLER
    assert kind_of(Callable[..., Mask]) is kinds.SAMPLER
    assert kind_of(Callable[[Spec], Net]) is kinds.MODEL
    plain = kind_of(Callable[[Array, Array], Array])
    assert plain.describe() == "a function (array, array, *, ...) -> Array"
    assert kind_of(Callable[..., Any]).describe() == "a function (...)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "optim.brick=optax.sgd",
            ["optim.brick: optax.sgd does not fit", "mean maskmim.optim.sgd?"],
        ),
        ("optim.brick=maskmim.optim.adam", ["no function 'adam'", "maskmim.optim.adamw?"]),
        ("optim.brick=maskmim.optim.zzz", ["there are adafactor, adamw", "muon, sgd"]),
        ("optim.brick=maskmim.schedules.warmup_constant", ["optim", "no keyword lr"]),
        (
            "mask.brick=maskmim.losses.squared_error",
            ["mask.brick: ", "it returns Array", "a sampler"],
        ),
        (
            "mask.brick=maskmim.masks.colour.zzzzzz",
            ["there are blue, green, purple, red, strongest, white"],
        ),
        (
            "schedule.brick=maskmim.optim.adamw",
            ["schedule.brick: ", "maskmim.schedules.warmup_cosine"],
        ),
        ("model.brick=maskmim.models.vq_vit.vq_vit", ["model.brick: ", "it returns Tokenizer"]),
        ("method=maskmim.losses.squared_error", ["method: ", "a method"]),
        ("data.train.brick=maskmim.data.decode.picture", ["data.train.brick: ", "a data source"]),
        ("data.decode.brick=maskmim.data.grocery.grocery", ["data.decode.brick: ", "a decoder"]),
        (
            "evals.probes.knn.brick=maskmim.data.decode.picture",
            ["evals.probes.knn.brick: ", "a probe"],
        ),
        (
            "objectives.pixels.loss.brick=maskmim.masks.uniform.random",
            ["it returns Mask", "a function (array, array, *, ...) -> Array"],
        ),
    ],
)
def test_a_brick_of_another_kind_is_a_sentence(text, words):
    said = message(override, base(), [text])
    assert all(word in said for word in words), said


def test_offers_are_of_the_kind_asked_for():
    offered = names_of_kind(masks.colour, kinds.SAMPLER)
    assert offered == ["red", "green", "blue", "purple", "white", "strongest"]
    assert "path_rules" not in suggestion(kinds.OPTIMISER, "zzzz")
    assert suggestion(kinds.SAMPLER, "gren") == "; did you mean maskmim.masks.colour.green?"
    with pytest.raises(BrickError, match=r"did you mean maskmim\.masks\.uniform\.random"):
        resolve("maskmim.masks.uniform.randm", kinds.SAMPLER)


def test_a_mask_of_ones_own_package_needs_no_annotations():
    config = load("mae", [f"mask.brick={__name__}.unannotated"])
    assert config.mask.ratio == 0.75


def test_suggestions_are_of_the_kind_not_only_like_it():
    from maskmim.config.kinds import PROBE, names_of_kind
    from maskmim.evals import failures, knn

    assert names_of_kind(failures, PROBE) == []
    assert names_of_kind(knn, PROBE) == ["knn"]
