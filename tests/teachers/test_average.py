"""The averaged teacher: exact averages, named parts, hints, no gradient, errors."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config import facts
from maskmim.teachers import momentum
from maskmim.teachers.average import AverageError, average, average_under_mask

HALF = partial(momentum.constant, value=0.5)


@facts.finder(gives=("first",))
def first(net, params, context, *, factor=1.0):
    return {"first": factor * params["encoder"]["kernel"][0]}


def weights(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    shapes = {"encoder": {"kernel": (4, 3), "bias": (3,)}, "decoder": {"scale": (5,)}}
    return jax.tree.map(
        lambda shape: rng.normal(size=shape).astype(np.float32),
        shapes,
        is_leaf=lambda shape: isinstance(shape, tuple),
    )


def test_the_average_is_exact_after_several_updates():
    teacher = average(find=first, momentum=partial(momentum.linear, start=0.9, end=0.99))
    extra = teacher.init(jax.random.key(0), None, weights(0))
    assert teacher.freeze() == ()
    expected = jax.tree.map(np.float64, weights(0))
    refresh = jax.jit(teacher.refresh)
    for step in range(6):
        extra = refresh(extra, weights(step + 1), (), jnp.float32(step / 6))
        share = 0.9 + 0.09 * step / 6
        expected = jax.tree.map(
            lambda old, new, share=share: share * old + (1 - share) * new,
            expected,
            weights(step + 1),
        )
    for ours, exact in zip(jax.tree.leaves(extra), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=1e-6)


def test_named_parts_are_averaged_alone():
    teacher = average(find=first, momentum=HALF, parts=("encoder",))
    extra = teacher.init(jax.random.key(0), None, weights(0))
    extra = teacher.refresh(extra, weights(1), (), 0.0)
    assert set(extra) == {"encoder"}
    middle = (weights(0)["encoder"]["bias"] + weights(1)["encoder"]["bias"]) / 2
    np.testing.assert_allclose(extra["encoder"]["bias"], middle, rtol=1e-6)


def test_hints_come_from_the_average_before_the_mask_and_carry_no_gradient():
    teacher = average(find=partial(first, factor=3.0), momentum=HALF)
    assert teacher.gives == ("first",) and not teacher.sees_mask

    def total(extra):
        return jnp.sum(teacher.find(None, extra, (), None, None)["first"])

    value, gradient = jax.value_and_grad(total)(weights(2))
    np.testing.assert_allclose(value, 3 * weights(2)["encoder"]["kernel"][0].sum(), rtol=1e-5)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_parts_that_do_not_exist_are_named():
    teacher = average(find=first, momentum=HALF, parts=("encoder", "head"))
    with pytest.raises(AverageError, match=r"no params \['head'\].*has decoder, encoder"):
        teacher.init(jax.random.key(0), None, weights(0))


def test_a_find_that_declares_no_hints_is_refused():
    with pytest.raises(AverageError, match=r"test_average\.silent does not declare its hints"):
        average(find=partial(silent, factor=1.0), momentum=HALF)


def silent(net, params, context, *, factor):
    return {}


@facts.finder(gives=("seen",))
def seen(net, params, context, mask):
    return {"seen": params["encoder"]["bias"] * mask}


def test_an_average_under_the_mask_is_asked_after_it_is_drawn():
    teacher = average_under_mask(find=seen, momentum=HALF, parts=("encoder",))
    assert teacher.sees_mask and teacher.gives == ("seen",)
    extra = teacher.init(jax.random.key(0), None, weights(0))

    def total(extra):
        return jnp.sum(teacher.find(None, extra, (), None, 2.0)["seen"])

    value, gradient = jax.value_and_grad(total)(extra)
    np.testing.assert_allclose(value, 2 * weights(0)["encoder"]["bias"].sum(), rtol=1e-5)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))
    plain = average(find=first, momentum=HALF, parts=("encoder",))
    jax.tree.map(
        np.testing.assert_array_equal,
        teacher.refresh(extra, weights(1), (), 0.5),
        plain.refresh(extra, weights(1), (), 0.5),
    )
    with pytest.raises(AverageError, match="does not declare its hints"):
        average_under_mask(find=silent, momentum=HALF)
