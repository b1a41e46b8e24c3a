"""InfoNCE against torch's cross-entropy and numpy, and its queue against a simulation of steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from maskmim.objectives.classification import ObjectiveError
from maskmim.objectives.contrastive import info_nce, nt_xent
from tests.objectives.views import WIDTH, features, net_of, views_of
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

EXAMPLES, TEMPERATURE = 7, 0.2


def plain(**changes):
    """InfoNCE on the features themselves."""
    return info_nce(project=None, temperature=TEMPERATURE, **changes)


def loss_of(objective, arrays, extra=(), **options):
    """The mean loss of features f32[views, B, D], and its gradient to them."""

    def mean(arrays):
        loss, weight, *_ = objective.find(views_of(arrays, **options), extra)
        return jnp.sum(loss * weight) / jnp.sum(weight)

    return jax.value_and_grad(mean)(jnp.asarray(arrays))


def torch_loss(queries, keys, queue=None):
    """The same by torch: cross-entropy of cosines over the temperature."""
    queries, keys = F.normalize(queries, dim=-1), F.normalize(keys, dim=-1)
    negatives = keys if queue is None else torch.cat([keys, F.normalize(queue, dim=-1)])
    return F.cross_entropy(queries @ negatives.T / TEMPERATURE, torch.arange(len(queries)))


def test_the_loss_and_its_gradient_equal_torch():
    arrays = features(2, EXAMPLES)
    given = torch.from_numpy(arrays).requires_grad_()
    expected = (torch_loss(given[0], given[1]) + torch_loss(given[1], given[0])) / 2
    expected.backward()
    loss, gradient = loss_of(plain(), arrays)
    np.testing.assert_allclose(loss, expected.item(), rtol=PARITY)
    np.testing.assert_allclose(gradient, given.grad, rtol=1e-3, atol=PARITY * 0.01)


def test_without_symmetry_only_the_first_view_is_a_query():
    arrays = features(3, EXAMPLES)
    given = torch.from_numpy(arrays)
    expected = (torch_loss(given[0], given[1]) + torch_loss(given[0], given[2])) / 2
    loss, _ = loss_of(plain(symmetric=False), arrays)
    np.testing.assert_allclose(loss, expected, rtol=PARITY)
    pairs = [torch_loss(given[a], given[b]) for a in range(3) for b in range(3) if a != b]
    loss, _ = loss_of(plain(), arrays)
    np.testing.assert_allclose(loss, sum(pairs) / 6, rtol=PARITY)


def test_keys_of_a_teacher_get_no_gradient_and_are_those_of_the_other_view():
    arrays, hints = features(2, EXAMPLES), features(2, EXAMPLES, seed=1)

    def mean(arrays, hints):
        views = views_of(arrays, hints=hints)
        return jnp.mean(plain(hint="projection").find(views, ())[0])

    objective = plain(hint="projection")
    assert objective.needs == ("projection",)
    # The method stops the gradient of hints; here they are followed to see which view reads which.
    gradient = np.asarray(jax.grad(mean, argnums=0)(arrays, hints))
    assert np.any(gradient[0]) and np.any(gradient[1])
    given, keys = torch.from_numpy(arrays), torch.from_numpy(hints)
    expected = (torch_loss(given[0], keys[1]) + torch_loss(given[1], keys[0])) / 2
    np.testing.assert_allclose(mean(arrays, hints), expected, rtol=PARITY)


def test_projector_and_predictor_are_called_one_after_the_other():
    rng = np.random.default_rng(3)
    project = rng.standard_normal((WIDTH, 4)).astype(np.float32)
    predict = rng.standard_normal((4, 4)).astype(np.float32)
    net = net_of(projector=jnp.asarray(project), predictor=jnp.asarray(predict))
    arrays = features(2, EXAMPLES)
    objective = info_nce(predict="predictor", temperature=TEMPERATURE)
    assert objective.calls == ("projector", "predictor")
    keys = torch.from_numpy(arrays @ project)
    queries = torch.from_numpy(arrays @ project @ predict)
    expected = (torch_loss(queries[0], keys[1]) + torch_loss(queries[1], keys[0])) / 2
    loss, _ = loss_of(objective, arrays, net=net)
    np.testing.assert_allclose(loss, expected, rtol=PARITY)


def test_accuracy_is_the_share_of_queries_that_find_their_key():
    arrays = features(2, EXAMPLES)
    unit = arrays / np.linalg.norm(arrays, axis=-1, keepdims=True)
    cosines = unit[0] @ unit[1].T
    hits = [np.argmax(cosines, axis=axis) == np.arange(EXAMPLES) for axis in (0, 1)]
    _, _, metrics, _ = plain().find(views_of(arrays), ())
    np.testing.assert_allclose(metrics["accuracy"].value, np.mean(hits), rtol=1e-6)
    assert float(metrics["accuracy"].weight) == 2 * EXAMPLES
    same = plain().find(views_of(np.stack([arrays[0], arrays[0]])), ())[2]
    assert float(same["accuracy"].value) == 1.0


@pytest.mark.parametrize(("queue", "symmetric"), [(40, True), (10, False), (5, True)])
def test_the_queue_equals_a_simulation_of_several_steps(queue, symmetric):
    """Oldest keys leave; where a step has more keys than the queue, its first ones stay."""
    objective = plain(queue=queue, symmetric=symmetric)
    extra = objective.init(jax.random.key(1), net_of(), {})
    simulated = [*np.asarray(extra["keys"])]
    np.testing.assert_allclose(np.linalg.norm(simulated, axis=-1), 1, rtol=1e-5)
    for step in range(4):
        arrays = features(2, EXAMPLES, seed=10 + step)
        given = torch.from_numpy(arrays)
        kept = torch.from_numpy(np.stack(simulated))
        expected = torch_loss(given[0], given[1], kept)
        if symmetric:
            expected = (expected + torch_loss(given[1], given[0], kept)) / 2
        loss, _, _, carry = objective.find(views_of(arrays), extra)
        np.testing.assert_allclose(loss.mean(), expected, rtol=PARITY)
        extra = objective.refresh(extra, carry)
        unit = arrays / np.linalg.norm(arrays, axis=-1, keepdims=True)
        entering = unit.transpose(1, 0, 2).reshape(-1, WIDTH) if symmetric else unit[1]
        simulated = [*simulated, *entering[:queue]][-queue:]
        np.testing.assert_allclose(extra["keys"], np.stack(simulated), rtol=1e-5, atol=1e-6)


def test_the_queue_does_not_depend_on_micro_batches():
    """Parts of a batch, dealt as the step deals them, give sums that make the same queue."""
    objective = plain(queue=9)
    extra = objective.init(jax.random.key(1), net_of(), {})
    arrays = features(2, 8)
    whole = objective.find(views_of(arrays), extra)[3]
    parts = [
        objective.find(views_of(arrays[:, part::2], slots=np.arange(part, 8, 2)), extra)[3]
        for part in range(2)
    ]
    summed = jax.tree.map(jnp.add, *parts)
    for one, other in zip(*(jax.tree.leaves(tree) for tree in (whole, summed)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_micro_batches_change_the_negatives_as_documented():
    arrays = features(2, 8)
    whole, _ = loss_of(plain(), arrays)
    halves = [float(loss_of(plain(), arrays[:, part::2])[0]) for part in range(2)]
    assert float(whole) > np.mean(halves) + 0.3


def simclr(arrays):
    """NT-Xent of features f32[2, B, D] by numpy, pair by pair."""
    unit = (arrays / np.linalg.norm(arrays, axis=-1, keepdims=True)).astype(np.float64)
    flat, examples = unit.reshape(-1, unit.shape[-1]), arrays.shape[1]
    losses = np.zeros((2, examples))
    for row, view in enumerate(flat):
        powers = np.exp(flat @ view / TEMPERATURE)
        powers[row] = 0
        other = powers[(row + examples) % (2 * examples)]
        losses[row // examples, row % examples] = -np.log(other / powers.sum())
    return losses.mean()


def of_pairs(**changes):
    """NT-Xent on the features themselves."""
    return nt_xent(project=None, temperature=TEMPERATURE, **changes)


@pytest.mark.proves(84, "a view is compared with both views of all other examples, itself apart")
def test_nt_xent_equals_numpy():
    arrays = features(2, EXAMPLES)
    loss, gradient = loss_of(of_pairs(), arrays)
    np.testing.assert_allclose(loss, simclr(arrays), rtol=PARITY)
    step = np.random.default_rng(5).standard_normal(arrays.shape)
    sides = [simclr(arrays + sign * 1e-4 * step) for sign in (1, -1)]
    np.testing.assert_allclose(np.sum(gradient * step), (sides[0] - sides[1]) / 2e-4, rtol=1e-3)
    assert simclr(arrays) > float(loss_of(plain(), arrays)[0]) + 0.2  # fewer negatives


def test_nt_xent_measures_alignment_and_takes_two_views():
    arrays = features(2, EXAMPLES)
    same = of_pairs().find(views_of(np.stack([arrays[0], 2 * arrays[0]])), ())[2]
    assert float(same["accuracy"].value) == 1.0
    assert float(same["alignment"].value) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(ObjectiveError, match=r"two views, but the sampler draws 3.*info_nce"):
        of_pairs().find(views_of(features(3, EXAMPLES)), ())


@pytest.mark.proves(84, "learning the contrast aligns views of an example and keeps examples apart")
def test_nt_xent_aligns_and_spreads():
    """Features begin nearly collapsed, each view with noise of its own."""
    rng = np.random.default_rng(0)
    arrays = np.ones((2, 16, WIDTH)) + 0.3 * rng.standard_normal((2, 16, WIDTH))

    def measures(arrays):
        metrics = of_pairs().find(views_of(arrays), ())[2]
        return float(metrics["alignment"].value), float(metrics["spread"].value)

    def step(arrays, _):
        loss = lambda x: jnp.mean(of_pairs().find(views_of(x), ())[0])  # noqa: E731
        return arrays - 2.0 * jax.grad(loss)(arrays), None

    first = jnp.asarray(arrays, jnp.float32)
    before, after = measures(first), measures(jax.lax.scan(step, first, length=100)[0])
    assert before[1] < 0.8 and after[0] > 0.97 and after[1] > 0.9, (before, after)


def test_micro_batches_change_the_negatives_of_nt_xent_as_documented():
    arrays = features(2, 8)
    whole, _ = loss_of(of_pairs(), arrays)
    halves = [float(loss_of(of_pairs(), arrays[:, part::2])[0]) for part in range(2)]
    assert float(whole) > np.mean(halves) + 0.3
