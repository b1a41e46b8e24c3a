"""Samplers made of samplers, and samplers that change which tokens enter or are predicted."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.bricks import bind, brick
from maskmim.config.describe import needs_of, title
from maskmim.masks import combine, roles
from maskmim.masks.colour import green, red
from maskmim.masks.core import MaskError
from maskmim.masks.regions import covered
from maskmim.masks.uniform import random, random_scores
from maskmim.types import Context, Randomness

GRID = (14, 14)
BATCH = 64
HALF = partial(random, ratio=0.5)
MOST = partial(random, ratio=0.75)


def randomness(seed=5):
    return Randomness.of(jax.random.key(seed), BATCH)


def context(progress=0.0, **hints):
    return Context({}, {"tokens": GRID}, hints, progress)


def hidden_of(mask):
    return np.asarray(mask.hidden)


def test_a_mixture_gives_each_example_the_mask_of_one_sampler():
    parts = {"red": partial(red, ratio=0.75), "random": MOST}
    hidden = hidden_of(combine.mixture(randomness(), context(), samplers=parts, weights=(1.0, 3.0)))
    expected = {
        name: hidden_of(part(randomness().inside(name), context())) for name, part in parts.items()
    }
    from_red = (hidden == expected["red"]).all(1)
    from_random = (hidden == expected["random"]).all(1)
    assert (from_red ^ from_random).all()
    assert 4 <= from_random.sum() <= 28, "weights are in alphabetical order: random 1, red 3"


def test_a_mixture_of_unequal_sizes_is_refused():
    with pytest.raises(MaskError, match="half 98 and 98, most 49 and 147"):
        combine.mixture(randomness(), context(), samplers={"half": HALF, "most": MOST})
    with pytest.raises(MaskError, match="3 weights"):
        combine.mixture(
            randomness(), context(), samplers={"a": HALF, "b": HALF}, weights=(1.0, 1.0, 1.0)
        )


@pytest.mark.proves(1, "one colour up to a given part of training, another after it")
def test_a_schedule_changes_sampler_on_time():
    parts = {"first": partial(green, ratio=0.75), "then": MOST}

    @jax.jit
    def draw(progress):
        return combine.schedule(randomness(), context(progress), **parts, until=0.4).hidden

    for progress, name in ((0.0, "first"), (0.39, "first"), (0.4, "then"), (0.9, "then")):
        expected = parts[name](randomness().inside(name), context()).hidden
        np.testing.assert_array_equal(draw(jnp.float32(progress)), expected)
    with pytest.raises(MaskError, match="differ"):
        combine.schedule(randomness(), context(), first=HALF, then=MOST, until=0.5)


@pytest.mark.parametrize(("ratio", "inside"), [(0.5, True), (0.9, False)])
def test_a_union_hides_what_either_hides_first(ratio, inside):
    hidden = hidden_of(combine.union(randomness(), context(), first=HALF, second=HALF, ratio=ratio))
    one = hidden_of(HALF(randomness().inside("first"), context()))
    other = hidden_of(HALF(randomness().inside("second"), context()))
    both = one | other
    assert (hidden.sum(1) == round(ratio * 196)).all()
    assert (hidden <= both).all() if inside else (both <= hidden).all()
    assert (one != other).any(1).all(), "the two are independent"


def test_a_complement_exchanges_visible_and_hidden_tokens():
    turned = combine.complement(randomness(), context(), sampler=MOST)
    mask = MOST(randomness(), context())
    np.testing.assert_array_equal(turned.visible, mask.predict)
    np.testing.assert_array_equal(turned.predict, mask.visible)
    with pytest.raises(MaskError, match="splits the tokens in two"):
        part = partial(roles.partly_predicted, sampler=MOST, share=0.5)
        combine.complement(randomness(), context(), sampler=part)


def test_a_region_is_hidden_first():
    region = np.random.RandomState(0).rand(BATCH, 196) < np.linspace(0, 1, BATCH)[:, None]
    hidden = hidden_of(
        combine.restricted(
            randomness(), context(region=jnp.asarray(region)), scores=random_scores, ratio=0.5
        )
    )
    assert (hidden.sum(1) == 98).all()
    for gone, inside in zip(hidden, region, strict=True):
        assert (gone <= inside).all() if inside.sum() >= 98 else (inside <= gone).all()
    assert needs_of(combine.restricted) == ("region",)


def test_streams_are_masked_apart_and_joined_in_order():
    several = Context({}, {"rgb": (4, 4), "depth": (2, 8)}, {}, 0.0)
    samplers = {"depth": partial(random, ratio=0.25), "rgb": partial(random, ratio=0.5)}
    mask = combine.per_stream(randomness(), several, samplers=samplers)
    hidden = hidden_of(mask)
    assert (hidden[:, :16].sum(1) == 8).all() and (hidden[:, 16:].sum(1) == 4).all()
    assert (np.diff(np.asarray(mask.visible), axis=1) > 0).all()
    np.testing.assert_array_equal(np.asarray(mask.predict[0]), np.flatnonzero(hidden[0]))
    with pytest.raises(MaskError, match="streams are"):
        combine.per_stream(randomness(), several, samplers={"rgb": HALF})


def test_streams_get_their_part_of_the_hints():
    several = Context({}, {"a": (3,), "b": (5,)}, {"region": jnp.arange(8)[None] > 5}, 0.0)

    def needing(randomness, context):
        assert context.hints["region"].shape == (1, math_prod(context.grid))
        return random(randomness, context, ratio=0.5)

    def math_prod(grid):
        return int(np.prod(grid))

    one = Randomness.of(jax.random.key(0), 1)
    combine.per_stream(one, several, samplers={"a": needing, "b": needing})


def test_every_token_enters_in_place():
    mask = roles.in_place(randomness(), context(), sampler=MOST)
    assert mask.visible.shape == (BATCH, 196)
    np.testing.assert_array_equal(mask.predict, MOST(randomness(), context()).predict)


@pytest.mark.parametrize(("share", "kept"), [(1 / 3, 49), (0.05, 7), (0.001, 1), (1.0, 147)])
def test_a_part_of_the_hidden_tokens_is_predicted(share, kept):
    mask = roles.partly_predicted(randomness(), context(), sampler=MOST, share=share)
    predicted = np.asarray(mask.predict)
    assert predicted.shape == (BATCH, kept) == mask.weight.shape
    assert np.take_along_axis(hidden_of(mask), predicted, axis=1).all()
    assert (np.diff(predicted, axis=1) > 0).all()
    with pytest.raises(MaskError, match="share"):
        roles.partly_predicted(randomness(), context(), sampler=MOST, share=0.0)


def test_spared_examples_are_whole_and_weigh_nothing():
    inner = partial(roles.in_place, sampler=MOST)
    mask = roles.spared(randomness(), context(), sampler=inner, chance=0.5)
    counts = hidden_of(mask).sum(1)
    assert set(counts) == {0, 147} and 10 < (counts == 0).sum() < 54
    np.testing.assert_array_equal(np.asarray(mask.weight).sum(1), counts)
    with pytest.raises(MaskError, match="in_place"):
        roles.spared(randomness(), context(), sampler=MOST)


def test_all_tokens_can_be_predicted():
    mask = roles.all_predicted(randomness(), context(), sampler=MOST)
    assert mask.predict.shape == (BATCH, 196) and float(mask.weight.sum()) == BATCH * 196


def test_a_combination_is_a_config_section_and_passes_needs_on():
    section = brick(
        "maskmim.masks.combine.mixture",
        samplers={
            "bank": brick("maskmim.masks.bank.cropped", ratio=0.75),
            "green": brick("maskmim.masks.colour.green", ratio=0.75),
        },
    )
    bound = bind(section)
    assert needs_of(bound) == ("noise_bank",)
    assert "green: masks.colour.green(ratio=0.75" in title(bound)


def test_joined_masks_do_not_tell_a_covered_region():
    parts = {"covered": partial(covered, ratio=0.75, candidates=(1, 2)), "random": MOST}
    turns = {"first": parts["covered"], "then": MOST, "until": 0.5}

    def drawn(labels):
        given = context(labels=labels)
        alone = parts["covered"](randomness(), given)
        mixed = combine.mixture(randomness(), given, samplers=parts)
        return alone, mixed, combine.schedule(randomness(), given, **turns)

    alone, *joined = jax.eval_shape(drawn, jnp.zeros((BATCH, 196), jnp.int32))
    assert alone.covered.shape == (BATCH, 196)
    assert all(mask.covered is None for mask in joined)
