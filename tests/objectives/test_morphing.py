"""Groups of similar tokens and losses of their means, against DTM's official code."""

from __future__ import annotations

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.checkpoints.workdir import save_config
from maskmim.config.load import load
from maskmim.losses.regression import smooth_l1
from maskmim.masks.core import nothing_hidden
from maskmim.models.layers.token_merging import group_means, merge_groups
from maskmim.objectives import match, morph, morphing
from maskmim.objectives.morphing import drawn_schedule, removed_each
from maskmim.targets.features import features
from maskmim.training.build import build_method
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Encoded, Randomness, View
from tests.comparing import close
from tests.golden.dtm import case
from tests.objectives.views import net_of

BETA_2 = partial(smooth_l1, beta=2.0)
merged = jax.jit(merge_groups, static_argnames="most")


def view_of(prediction, target, seed=0) -> View:
    """A view whose head 'features' predicts f32[B, N, V] for every token, and the hint."""
    net, examples, length = net_of(), *prediction.shape[:2]
    context, token = Context({}, net.grids, {"features": target}), jnp.zeros((examples, 0, 1))
    randomness = Randomness.of(jax.random.key(seed), examples)
    mask, outputs = nothing_hidden(examples, length), {"features": prediction}
    return View(net, context, (), mask, Encoded(token, token), outputs, {}, (), randomness)


def value(objective, view) -> jax.Array:
    """The weighted mean of an objective."""
    per_token, weight, _, _ = objective.find(view)
    return jnp.sum(per_token * weight) / jnp.sum(weight)


@cache
def golden():
    return dict(np.load(case.GOLDEN))


@pytest.mark.full
@pytest.mark.proves(37, "groups, loss and gradient equal the official train_one_epoch's")
@pytest.mark.parametrize("number", range(len(case.CASES)))
def test_equals_the_official_loss(number, monkeypatch):
    length, schedules = case.CASES[number]
    prediction, target = (jnp.asarray(case.tokens(number, seed)) for seed in (0, 1))
    drawn = [(removed_each(*schedule, length), schedule[1]) for schedule in schedules]
    for schedule, expected in zip(drawn, golden()[f"groups_{number}"], strict=True):
        found = merged(target, *map(jnp.asarray, schedule), most=case.ROUNDS)
        np.testing.assert_array_equal(found, expected)
    order = iter(drawn)
    monkeypatch.setattr(morphing, "drawn_schedule", lambda *_: next(order))
    objective = morph(head="features", target=features, loss=BETA_2, rounds=case.ROUNDS)
    loss, gradient = jax.value_and_grad(lambda x: value(objective, view_of(x, target)))(prediction)
    close(loss, golden()[f"loss_{number}"], name="loss")
    close(gradient, golden()[f"gradient_{number}"], name="gradient")


@pytest.mark.proves(37, "groups partition the tokens, number those left, and token 0 never merges")
def test_groups_partition_the_tokens():
    tokens = jnp.asarray(np.random.default_rng(0).normal(size=(4, 15, 3)), jnp.float32)
    for removed, rounds in ((0, 14), (1, 14), (3, 4), (7, 1), (15, 14)):
        groups = np.asarray(merged(tokens, jnp.int32(removed), jnp.int32(rounds), most=14))
        left = 15
        for _ in range(rounds):
            left -= min(removed, (left - 1) // 2)
        for one in groups:
            np.testing.assert_array_equal(np.unique(one), np.arange(left))
            assert one[0] == 0
        once = group_means(tokens, groups)
        np.testing.assert_allclose(group_means(once, groups), once, atol=1e-6)
        by_hand = [[row[one == one[n]].mean(0) for n in range(15)] for row, one in
                   zip(np.asarray(tokens), groups, strict=True)]  # fmt: skip
        np.testing.assert_allclose(once, by_hand, atol=1e-6)


@pytest.mark.proves(37, "where nothing is removed the loss is that of single tokens, groups are N")
def test_nothing_removed_is_the_loss_of_tokens(monkeypatch):
    prediction, target = case.tokens(0, 0), case.tokens(0, 1)
    monkeypatch.setattr(morphing, "drawn_schedule", lambda *_: (jnp.int32(0), jnp.int32(3)))
    pieces = {"head": "features", "target": features, "loss": BETA_2}
    view = view_of(prediction, target)
    found = morph(**pieces, rounds=3).find(view)
    np.testing.assert_allclose(found[0], match(**pieces).find(view)[0], rtol=1e-6)
    groups = found[2]["groups"]
    assert groups.total / groups.weight == case.CASES[0][0]


def test_schedules_have_the_official_law():
    """Each pair of numbers is as likely; a batch has one, whatever its micro-batches."""
    pairs = {(n, k): (-(-n // k) if -(-n // k) * k <= 6 else n // k, k)
             for n in range(7) for k in (1, 2, 3, 4)}  # fmt: skip
    for (n, k), (each, _) in pairs.items():
        assert removed_each(jnp.int32(n), jnp.int32(k), 6) == each
    keys = jax.random.split(jax.random.key(0), 4000)
    removed, rounds = jax.vmap(lambda key: drawn_schedule(key, 6, 4))(keys)
    found = np.stack([removed, rounds], 1)
    for pair in set(pairs.values()):
        share = sum(each == pair for each in pairs.values()) / len(pairs)
        assert abs(np.mean(np.all(found == pair, axis=1)) - share) < 0.03, pair
    objective = morph(head="features", target=features, loss=BETA_2, rounds=3)
    view = view_of(case.tokens(0, 0), case.tokens(0, 1))
    whole = objective.find(view)[0]
    half = view_of(case.tokens(0, 0)[1:], case.tokens(0, 1)[1:])
    half = half._replace(randomness=view.randomness._replace(slots=view.randomness.slots[1:]))
    np.testing.assert_allclose(objective.find(half)[0], whole[1:], rtol=1e-6)


def noisy(seed: int):
    """Clean features of regions f32[B, N, D], and the same with noise of each token."""
    rng = np.random.default_rng(seed)
    kinds = rng.normal(size=(8, 4, 16))
    clean = np.take_along_axis(kinds, rng.integers(0, 4, (8, 36, 1)), axis=1)
    return clean.astype(np.float32), (clean + rng.normal(size=clean.shape)).astype(np.float32)


def learnt_cosine(objective, clean, target) -> float:
    """Learn a free prediction of each token for some steps, return its cosine to the clean ones."""

    @jax.jit
    def gradient(prediction, seed):
        def loss(prediction):
            view = view_of(prediction, target)
            randomness = Randomness.of(jax.random.fold_in(jax.random.key(0), seed), len(target))
            return value(objective, view._replace(randomness=randomness))

        return jax.grad(loss)(prediction)

    prediction = jnp.zeros_like(target)
    for step in range(30):
        prediction -= 100.0 * gradient(prediction, step)
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    return float(np.mean(np.sum(unit(np.asarray(prediction)) * unit(clean), axis=-1)))


@pytest.mark.full
@pytest.mark.proves(
    37, "of noisy targets a student learns clean features better by groups than by tokens"
)
def test_morphing_removes_noise(monkeypatch):
    clean, target = noisy(0)
    pieces = {"head": "features", "target": features, "loss": BETA_2}
    by_tokens = learnt_cosine(match(**pieces), clean, target)
    by_groups = learnt_cosine(morph(**pieces, schedules=1, rounds=6), clean, target)
    shuffle = np.random.default_rng(1).permutation(target.shape[1])
    monkeypatch.setattr(
        morphing, "merge_groups", lambda *x, most: merge_groups(*x, most=most)[:, shuffle]
    )
    at_random = learnt_cosine(morph(**pieces, schedules=1, rounds=6), clean, target)
    print(by_tokens, by_groups, at_random)
    assert by_groups > by_tokens + 0.05
    assert by_groups > at_random + 0.05


@pytest.mark.full
@pytest.mark.proves(37, "gradients reach every parameter of the student, none of the teacher's")
def test_gradients_reach_the_student_alone():
    _, method = build_method(load("dtm:tiny"))
    variables = jax.jit(method.variables)(jax.random.key(0))
    picture = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)

    @jax.jit
    def gradients(params, frozen):
        def loss(params, frozen):
            randomness = Randomness.of(jax.random.key(1), 2)
            variables_ = variables._replace(params=params, frozen=frozen)
            losses = method.loss(variables_, {"image": picture}, randomness, 0.0)
            return losses.terms["features"].value

        return jax.grad(loss, argnums=(0, 1))(params, frozen)

    of_student, of_teacher = gradients(variables.params, variables.frozen)
    for path, leaf in named_leaves(of_student):
        assert np.any(leaf), path
    # As the official optimiser groups them: neither single rows nor the class token are decayed.
    exempt, names = load("dtm").optim.no_decay, [path for path, _ in named_leaves(of_student)]
    decayed = {name for name in names if not any(re.search(each, name) for each in exempt)}
    kinds = {name.rsplit("/")[-1] for name in decayed}
    assert kinds == {"kernel", "mask_token", "relative_bias"}
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(of_teacher))


def test_the_published_recipe(tmp_path):
    config = load("dtm")
    network = config.teachers.whole.network
    assert network.projected and network.mean == (0.485, 0.456, 0.406)
    assert config.model.heads.features == 512
    assert (config.train.epochs, config.train.batch_size) == (300, 2048)
    assert (config.objectives.features.loss.beta, config.optim.clip_norm) == (2.0, 3.0)
    assert load("dtm:variant=L/16").model.layer_scale == 1e-5
    before = load("mae:tiny")
    before.model.variant = "4x48x2"
    save_config(tmp_path, before)
    taught = load(f"dtm:tiny,teacher={tmp_path}")
    assert taught.teachers.whole.network.workdir == str(tmp_path)
    assert taught.model.heads.features == 48
