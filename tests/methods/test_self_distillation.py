"""AttMask in its frame: the official step reproduced, whose attention hides what, what learns."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.interop.layout import arrays_of
from maskmim.losses.self_distillation import distillation
from maskmim.masks import attention
from maskmim.masks.ratio import fixed
from maskmim.masks.roles import in_place
from maskmim.masks.uniform import random
from maskmim.masks.varied import per_batch
from maskmim.methods.crops import crop_randomness
from maskmim.methods.masked import MethodError
from maskmim.methods.self_distillation import self_distillation
from maskmim.teachers.average import average
from maskmim.teachers.momentum import constant, cosine, linear
from maskmim.teachers.projections import projected
from maskmim.teachers.token_loss import predicted
from maskmim.training.build import build_method
from maskmim.training.train_step import make_train_step
from maskmim.tree_paths import leaf_path, named_leaves
from maskmim.types import Context, Method, Randomness, State, Variables
from tests.comparing import close
from tests.compiling import quick_jit
from tests.golden.attmask import case
from tests.running import ROOT
from tests.tolerances import REORDERED

pytestmark = pytest.mark.full

GOLDEN = np.load(case.GOLDEN)
TEACHER = partial(average, find=projected, momentum=partial(cosine, start=0.996))


# The most attended tokens, with all tokens listed as predicted and with the hidden ones alone.
ALL_LISTED = partial(per_batch, scores=attention.high_scores, law=partial(fixed, share=case.RATIO))
HIDDEN_LISTED = partial(in_place, sampler=partial(attention.high, ratio=case.RATIO))


def official_masks(randomness, context, *, sampler):
    """The masks of a sampler in the crops that the case masks."""
    mask = sampler(randomness, context)
    masked = ~jnp.asarray(case.kept_whole().reshape(-1, 1))
    return mask._replace(hidden=mask.hidden & masked, weight=mask.weight * masked)


MASKS = partial(official_masks, sampler=ALL_LISTED)


def method(mask=MASKS, teacher=TEACHER, **changes) -> Method:
    """The method with the case's sizes; temperatures of the case's epoch."""
    at = case.EPOCH / (case.WARM - 1)
    warm = [
        partial(linear, start=low + at * (high - low), end=low + at * (high - low))
        for low, high in (case.CLASS_TEMPERATURE, case.PATCH_TEMPERATURE)
    ]
    settings = {"class_temperature": warm[0], "patch_temperature": warm[1], **changes}
    return self_distillation(
        case.SPEC,
        model=case.MODEL,
        mask=mask,
        teacher=teacher,
        distillation=partial(distillation, **settings),
    )


@cache
def example() -> tuple[Variables, dict[str, np.ndarray]]:
    """The case's variables and batch."""
    extra = {"teacher": case.params("teacher"), "centre": case.centres()}
    batch = dict(zip(("global", "local"), case.crops(), strict=True))
    return Variables(case.params("student"), extra, ()), batch


@cache
def example_step():
    """(gradients, Losses, extra after the step with the case's params) of the case."""
    made, (variables, batch) = method(), example()
    randomness = Randomness.of(jax.random.key(0), case.EXAMPLES)

    def loss(params, extra):
        result = made.loss(Variables(params, extra, ()), batch, randomness, jnp.float32(0.0))
        return sum(result.scales[name] * term.value for name, term in result.terms.items()), result

    @quick_jit
    def run(variables):
        gradients, losses = jax.grad(loss, argnums=(0, 1), has_aux=True)(*variables[:2])
        carry = losses.carry
        return gradients, losses._replace(scales={}), made.refresh(variables, carry, 0.0)

    return run(variables)


@pytest.mark.proves(82, "class and patch loss, centres and gradients equal the official ones")
def test_one_step_equals_the_official_one():
    (gradients, _), losses, extra = example_step()
    close(losses.terms["class"].value, GOLDEN["class_loss"])
    close(losses.terms["patch"].value, GOLDEN["patch_loss"])
    for name in ("class", "tokens"):
        close(extra["centre"][name], GOLDEN[f"centre_{name}"], name=name)
    params, teacher = example()[0].params, example()[0].extra["teacher"]
    for (path, old), new, mixed in zip(
        named_leaves(teacher),
        jax.tree.leaves(params),
        jax.tree.leaves(extra["teacher"]),
        strict=True,
    ):
        np.testing.assert_allclose(mixed, 0.996 * old + 0.004 * new, rtol=1e-5, err_msg=path)
    ours = arrays_of(case.layout(), gradients)
    for name, theirs in case.split(GOLDEN["gradients"]).items():
        close(ours[name], theirs, name=name)


@pytest.mark.proves(82, "attention and masks of the crops equal the official teacher's")
def test_masks_come_from_the_teachers_attention():
    made, (variables, batch) = method(), example()
    crops = {"image": batch["global"].reshape(-1, *case.SPEC.shape)}

    @quick_jit
    def run(variables, randomness):
        context = Context(crops, made.net.grids, {})
        hints = projected(made.net, variables.extra["teacher"], context)
        mask = made.apply["mask"](variables, crops, randomness)["mask"]
        return mask.hidden, hints["attention"]

    hidden, values = run(variables, Randomness.of(jax.random.key(0), 6))
    np.testing.assert_array_equal(hidden, GOLDEN["hidden"].reshape(6, -1))
    close(values, GOLDEN["attention"].reshape(6, -1))


@pytest.mark.proves(82, "no gradient reaches the teacher or the centres, every part learns")
def test_what_learns():
    (gradients, of_extra), _, _ = example_step()
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(of_extra))
    for path, gradient in named_leaves(gradients):
        assert np.any(gradient), path


@cache
def tiny(mode: str) -> Method:
    """The tiny config's method with one of the modes."""
    return build_method(load(str(ROOT / f"configs/attmask.py:tiny,mask={mode}")))[1]


@cache
def random_variables() -> Variables:
    """Variables with attention that is not flat, other in the student than in the teacher."""
    centres = {"class": np.zeros(64, np.float32), "tokens": np.zeros(64, np.float32)}
    return Variables(
        random_params(1, 0.3), {"teacher": random_params(2, 0.3), "centre": centres}, ()
    )


def random_params(seed: int, width: float):
    """Random params of the tiny config's model, the factors of norms and lengths around 1."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(tiny("high").init, jax.random.key(0))[0]

    def draw(path, leaf):
        noise = width * rng.standard_normal(leaf.shape).astype(np.float32)
        return jnp.asarray(noise + leaf_path(path).endswith("scale"))

    return jax.tree.map_with_path(draw, shapes)


def hidden(mode: str, variables: Variables, seed: int = 0) -> np.ndarray:
    """What is hidden of 64 crops."""
    rng = np.random.default_rng(3)
    crops = {"image": rng.integers(0, 256, (64, 32, 32, 3), np.uint8)}
    return np.asarray(hidden_by(mode)(variables, crops, Randomness.of(jax.random.key(seed), 64)))


@cache
def hidden_by(mode: str):
    """What a mode's sampler hides, compiled."""
    draw = tiny(mode).apply["mask"]
    return quick_jit(lambda *given: draw(*given)["mask"].hidden)


@pytest.mark.proves(82, "masks follow the average and not the student")
def test_masks_follow_the_teacher_alone():
    variables = random_variables()
    before = hidden("high", variables)
    teacher = variables.extra["teacher"]
    np.testing.assert_array_equal(hidden("high", variables._replace(params=teacher)), before)
    swapped = variables._replace(extra=variables.extra | {"teacher": variables.params})
    assert (hidden("high", swapped) != before).any(axis=1).sum() > 16


@pytest.mark.proves(82, "one share of 10 to 50 % for the batch, about half of the crops whole")
def test_the_share_is_the_batchs_and_crops_are_whole_by_a_coin():
    shares = set()
    for seed in range(4):
        counts = hidden("high", random_variables(), seed).sum(axis=1)
        masked = counts[counts > 0]
        assert len(set(masked)) == 1 and 1 <= masked[0] <= 8
        assert 16 <= len(masked) <= 48  # of 64 coins; beyond once in 20,000 times
        shares.add(masked[0])
    assert len(shares) > 1


def test_crops_draw_for_themselves_and_share_what_is_shared():
    randomness = Randomness.of(jax.random.key(0), 3)
    crops = crop_randomness(randomness, 2)
    assert crops.slots.tolist() == [0, 1, 2, 3, 4, 5]
    assert crops.shared("ratio") == randomness.shared("ratio")
    second = crop_randomness(Randomness(randomness.key, randomness.slots[1:2]), 2)
    assert second.slots.tolist() == [2, 3]


def blobs(count: int, seed: int) -> dict[str, np.ndarray]:
    """Crops of pictures that are one of four colours each, with noise of their own."""
    rng = np.random.default_rng(seed)
    colours = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [180, 180, 60]])
    chosen = colours[rng.integers(0, 4, count)][:, None, None, None]

    def crops(number: int, side: int) -> np.ndarray:
        noise = rng.integers(-30, 31, (count, number, side, side, 3))
        return (chosen + noise).astype(np.uint8)

    return {"global": crops(2, 32), "local": crops(3, 16)}


def test_a_student_learns_what_a_teacher_says():
    """With a teacher and centres that stay, the losses fall towards the entropy of the targets."""
    still = partial(average, find=projected, momentum=partial(constant, value=1.0))
    masks = partial(official_masks, sampler=HIDDEN_LISTED)
    made, (variables, batch) = method(masks, still, centre_momentum=1.0), example()
    optimiser, steps = optax.adam(1e-2), 60
    opt_state = optimiser.init(variables.params)
    state = State(jnp.int32(0), *variables[:2], opt_state, jnp.int32(0))
    step = quick_jit(make_train_step(made, optimiser, seed=0, total_steps=steps))
    losses = []
    for _ in range(steps):
        state, metrics = step(state, (), batch)
        losses.append({name: float(metrics[f"loss/{name}"]) for name in ("class", "patch")})
    for (path, old), new in zip(
        named_leaves(variables.extra), jax.tree.leaves(state.extra), strict=True
    ):
        np.testing.assert_allclose(new, old, rtol=1e-6, err_msg=path)
    close(losses[0]["patch"], GOLDEN["patch_loss"])
    assert losses[-1]["class"] < 0.7 * losses[0]["class"], losses
    assert losses[-1]["patch"] < 0.5 * losses[0]["patch"], losses


def test_a_batch_may_be_split():
    """Terms and sums of centres of two halves add up to those of the whole, masks included."""
    made, (variables, batch) = tiny("high"), (random_variables(), blobs(4, 0))
    randomness = Randomness.of(jax.random.key(5), 4)

    @quick_jit
    def sums(batch, slots):
        part_randomness = Randomness(randomness.key, slots)
        losses = made.loss(variables, batch, part_randomness, jnp.float32(0.2))
        return losses.terms, losses.metrics, losses.carry

    parts = [{name: x[half] for name, x in batch.items()} for half in (slice(2), slice(2, 4))]
    halves = [sums(part, randomness.slots[2 * n : 2 * n + 2]) for n, part in enumerate(parts)]
    added = jax.tree.map(jnp.add, *halves)
    whole = sums(batch, randomness.slots)
    for (path, leaf), expected in zip(named_leaves(added), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=10 * REORDERED, atol=1e-4, err_msg=path)


def test_parts_that_do_not_fit_are_errors():
    dropping = partial(random, ratio=0.5)
    with pytest.raises(MethodError, match=r"8 of 16 tokens enter.*roles\.in_place"):
        jax.eval_shape(
            lambda v: method(mask=dropping).apply["mask"](
                v, {"image": example()[1]["global"][:, 0]}, Randomness.of(jax.random.key(0), 3)
            ),
            example()[0],
        )
    with pytest.raises(MethodError, match=r"class_logits.*projected"):
        method(mask=dropping, teacher=partial(average, find=predicted, momentum=cosine))
    with pytest.raises(ConfigError, match="use high, hint or low"):
        load(str(ROOT / "configs/attmask.py:mask=most"))


@pytest.mark.parametrize(("epochs", "batch", "cut"), [(100, 240, 0.25), (300, 800, 0.32)])
def test_the_published_recipe(epochs, batch, cut):
    config = load(str(ROOT / f"configs/attmask.py:epochs={epochs},mask=hint"))
    optim, crops = config.optim, config.data.augment
    assert (config.train.batch_size, optim.lr, optim.lr_per) == (batch, 5e-4, 256)
    assert (optim.weight_decay, optim.weight_decay_end, optim.clip_norm) == (0.04, 0.4, 3.0)
    assert (optim.late_epochs, config.schedule.warmup_epochs) == (1.0, 10.0)
    assert config.schedule.final * batch / 256 * 5e-4 == pytest.approx(1e-6)
    model = config.model
    assert (model.variant, model.prototypes, model.drop_path) == ("S", 8192, 0.1)
    assert (crops.local_count, tuple(crops.global_scale)) == (10, (cut, 1.0))
    rising = config.distillation.class_temperature
    assert (rising.start, rising.end, rising.until) == (0.04, 0.07, 30 / epochs)
    law = config.mask.sampler.law
    assert (law.low, law.high, config.mask.chance) == (0.1, 0.5, 0.5)
