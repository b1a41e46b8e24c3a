"""DINO and iBOT: the official steps reproduced, iBOT's masks, no patch loss in DINO."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.interop.layout import arrays_of
from maskmim.losses.self_distillation import distillation
from maskmim.masks.ratio import fixed, sometimes, uniform
from maskmim.masks.roles import everything
from maskmim.masks.varied import block_wise
from maskmim.methods.masked import MethodError
from maskmim.methods.self_distillation import self_distillation
from maskmim.teachers.average import average
from maskmim.teachers.momentum import cosine, linear
from maskmim.teachers.projections import class_logits, projected
from maskmim.training.build import build_method
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Mask, Method, Randomness, Variables
from tests.comparing import close
from tests.compiling import quick_jit
from tests.golden.attmask import case
from tests.tolerances import SIGNIFICANCE

full = pytest.mark.full
DINO, IBOT = (case.GOLDEN.parents[1] / name / "values.npz" for name in ("dino", "ibot"))
GRID = Context({}, {"image": (14, 14)}, {})
LAW = partial(sometimes, law=partial(uniform, low=0.1, high=0.5), chance=0.5)


def official_masks(randomness, context):
    """The masks of the recorded step."""
    hidden = jnp.asarray(np.load(IBOT)["hidden"].reshape(-1, context.length))
    tokens = jnp.broadcast_to(jnp.arange(context.length, dtype=jnp.int32), hidden.shape)
    return Mask(tokens, tokens, hidden, hidden.astype(jnp.float32))


def method(name: str) -> Method:
    """The method with the case's sizes; temperatures of the case's epoch."""
    at = case.EPOCH / (case.WARM - 1)
    warm = [
        partial(linear, start=low + at * (high - low), end=low + at * (high - low))
        for low, high in (case.CLASS_TEMPERATURE, case.PATCH_TEMPERATURE)
    ]
    settings = partial(distillation, class_temperature=warm[0], patch_temperature=warm[1])
    dino = name == "dino"
    find = class_logits if dino else projected
    return self_distillation(
        case.SPEC,
        model=partial(case.MODEL, mask_token=not dino),
        mask=everything if dino else official_masks,
        teacher=partial(average, find=find, momentum=partial(cosine, start=0.996)),
        distillation=partial(settings, patch_scale=0.0) if dino else settings,
    )


@cache
def step(name: str):
    """(losses, extra after the step with the case's params, gradients to params and extra)."""
    made, centres = method(name), case.centres()
    params = {who: case.params(who) for who in ("student", "teacher")}
    if name == "dino":
        del centres["tokens"]
        for each in params.values():
            del each["encoder"]["mask_token"]
    extra = {"teacher": params["teacher"], "centre": centres}
    variables = Variables(params["student"], extra, ())
    batch = dict(zip(("global", "local"), case.crops(), strict=True))
    randomness = Randomness.of(jax.random.key(0), case.EXAMPLES)

    def loss(params, extra):
        result = made.loss(Variables(params, extra, ()), batch, randomness, jnp.float32(0.0))
        return sum(result.scales[name] * term.value for name, term in result.terms.items()), result

    @quick_jit
    def run(variables):
        gradients, losses = jax.grad(loss, argnums=(0, 1), has_aux=True)(*variables[:2])
        refreshed = made.refresh(variables, losses.carry, jnp.float32(0.0))
        return losses._replace(scales={}), refreshed, gradients

    return run(variables)


@full
@pytest.mark.parametrize("name", ["dino", "ibot"])
def test_one_step_equals_the_official_one(name):
    golden = np.load(DINO if name == "dino" else IBOT)
    losses, extra, (gradients, of_extra) = step(name)
    terms = {"class"} if name == "dino" else {"class", "patch"}
    assert set(losses.terms) == terms
    for term in terms:
        close(losses.terms[term].value, golden[f"{term}_loss"], name=term)
    heads = {"class"} if name == "dino" else {"class", "tokens"}
    assert set(extra["centre"]) == heads
    for head in heads:
        close(extra["centre"][head], golden[f"centre_{head}"], name=head)
    layout = [e for e in case.layout() if name != "dino" or e.path != "encoder/mask_token"]
    ours = arrays_of(layout, gradients)
    theirs = np.split(golden["gradients"], np.cumsum([a.size for a in ours.values()])[:-1])
    for (array, gradient), expected in zip(ours.items(), theirs, strict=True):
        close(gradient.reshape(-1), expected, name=array)
        assert np.any(gradient), array
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(of_extra))


@cache
def masks(examples: int) -> Mask:
    """iBOT's masks of 14 x 14 tokens."""
    randomness = Randomness.of(jax.random.key(7), examples)
    drawn = jax.jit(lambda randomness: block_wise(randomness, GRID, law=LAW))(randomness)
    return jax.tree.map(np.asarray, drawn)


@full
def test_masks_are_distributed_as_the_official_ones():
    golden = np.load(IBOT)
    theirs, ours = golden["counts"], masks(4000).hidden.sum(1)
    # Half of the crops have no mask: two shares of 4,000 coins.
    apart = abs((theirs == 0).mean() - (ours == 0).mean())
    assert apart < 3.3 * np.sqrt(0.5 / 4000)  # SIGNIFICANCE in a normal distribution
    assert SIGNIFICANCE == 1e-3
    theirs, ours = theirs[theirs > 0], ours[ours > 0]
    assert ours.max() <= 98 and theirs.max() <= 98 and min(ours.min(), theirs.min()) >= 10
    # Officially ten rejected blocks end a mask, here 128 in all: a little fuller.
    assert 0 <= ours.mean() - theirs.mean() < 4
    frequency = masks(4000).hidden.reshape(-1, 14, 14).mean(0)
    correlation = np.corrcoef(frequency.ravel(), golden["frequency"].ravel())[0, 1]
    assert correlation > 0.97
    assert np.abs(frequency - golden["frequency"]).max() < 0.05


@full
def test_a_mask_hides_no_more_than_its_share_and_every_token_enters():
    drawn = masks(4000)
    keys = Randomness.of(jax.random.key(7), 4000).each("ratio")
    shares = np.asarray(jax.vmap(lambda key: LAW(key, 0.0))(keys))
    counts = drawn.hidden.sum(1)
    assert (counts <= np.floor(shares * 196)).all() and (counts[shares > 0] > 0).all()
    np.testing.assert_array_equal(drawn.weight, drawn.hidden)
    for places in (drawn.visible, drawn.predict):
        np.testing.assert_array_equal(places, np.broadcast_to(np.arange(196), places.shape))


@full
def test_masks_are_blocks():
    """Hidden tokens of one share have far fewer hidden neighbours when drawn alone."""
    randomness = Randomness.of(jax.random.key(1), 200)
    drawn = block_wise(randomness, GRID, law=partial(fixed, share=0.3))
    hidden = np.asarray(drawn.hidden).reshape(-1, 14, 14)
    beside = hidden[:, :, 1:] & hidden[:, :, :-1]
    assert beside.sum() / hidden.sum() > 0.7  # 0.28 for tokens drawn one by one


@full
def test_nothing_is_hidden_in_dino_and_small_crops_are_read():
    made = build_method(load("dino:tiny"))[1]
    assert [name for name, _ in made.chain if name.startswith("objective")] == ["objective class"]
    variables = jax.eval_shape(made.variables, jax.random.key(0))
    assert set(variables.extra["centre"]) == {"class"}
    assert "mask_token" not in variables.params["encoder"]
    paths = [path for path, _ in named_leaves(variables.params)]
    assert not any("mask" in path for path in paths)


@full
def test_a_patch_loss_needs_the_teachers_token_logits():
    teacher = partial(average, find=class_logits, momentum=cosine)
    flat = partial(linear, start=0.04, end=0.04)
    settings = partial(distillation, class_temperature=flat, patch_temperature=flat)
    with pytest.raises(MethodError, match=r"token_logits.*patch_scale=0"):
        self_distillation(
            case.SPEC, model=case.MODEL, mask=everything, teacher=teacher, distillation=settings
        )


def test_the_published_recipes():
    """The numbers of both READMEs and scripts, so that nobody changes one unawares."""
    dino, ibot = load("dino"), load("ibot")
    for config, epochs in ((dino, 300), (ibot, 800)):
        optim = config.optim
        assert (config.train.epochs, config.train.batch_size) == (epochs, 1024)
        assert (optim.lr, optim.lr_per, optim.clip_norm, optim.late_epochs) == (5e-4, 256, 3, 1)
        assert (optim.weight_decay, optim.weight_decay_end) == (0.04, 0.4)
        assert config.schedule.warmup_epochs == 10
        assert config.schedule.final * 4 * 5e-4 == pytest.approx(1e-6)
        rising = config.distillation.class_temperature
        assert (rising.start, rising.end, rising.until) == (0.04, 0.07, 30 / epochs)
        assert (config.teacher.momentum.start, config.teacher.momentum.end) == (0.996, 1.0)
        assert (config.model.variant, config.model.drop_path) == ("S", 0.1)
    assert (dino.model.prototypes, ibot.model.prototypes) == (65_536, 8192)
    crops = dino.data.augment, ibot.data.augment
    assert [crop.local_count for crop in crops] == [8, 10]
    assert [crop.global_scale for crop in crops] == [(0.4, 1.0), (0.25, 1.0)]
    assert [crop.local_scale for crop in crops] == [(0.05, 0.4), (0.05, 0.25)]
    law = ibot.mask.law
    assert (law.chance, law.law.low, law.law.high, ibot.mask.smallest) == (0.5, 0.1, 0.5, 16)
    assert (dino.distillation.patch_scale, ibot.distillation.patch_scale) == (0, 1)


@pytest.mark.parametrize("choice", ["", ":small", ":tiny"])
@pytest.mark.parametrize("name", ["dino", "ibot"])
def test_collapse_is_watched(name, choice):
    assert {"effective_rank", "feature_std"} <= set(load(f"{name}{choice}").evals.monitors)
