"""Cosine of pairs and agreement of hidden tokens, against numpy and torch."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from maskmim.losses.regression import squared_error
from maskmim.objectives.classification import ObjectiveError
from maskmim.objectives.pairs import agree_hidden, class_token, cosine_pair, mean_tokens, spread
from maskmim.types import Mask, Mean
from tests.objectives.views import WIDTH, features, net_of, views_of
from tests.tolerances import PARITY

EXAMPLES = 5


def cosines(one, other):
    return F.normalize(one, dim=-1).mul(F.normalize(other, dim=-1)).sum(-1)


def test_the_cosine_and_its_gradient_equal_torch_without_a_hint():
    """SimSiam: the other view's projection, without gradient, by a predictor of one's own."""
    rng = np.random.default_rng(2)
    kernels = {n: rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) for n in "pq"}
    net = net_of(projector=jnp.asarray(kernels["p"]), predictor=jnp.asarray(kernels["q"]))
    arrays = features(2, EXAMPLES)
    given = torch.from_numpy(arrays).requires_grad_()
    projected = given @ torch.from_numpy(kernels["p"])
    predicted = projected @ torch.from_numpy(kernels["q"])
    both = [2 - 2 * cosines(predicted[a], projected[b].detach()) for a, b in ((0, 1), (1, 0))]
    expected = torch.stack(both).mean(0)
    expected.mean().backward()

    def losses(arrays):
        return cosine_pair().find(views_of(arrays, net=net), ())[0]

    np.testing.assert_allclose(losses(arrays), expected.detach(), rtol=1e-3, atol=1e-4)
    gradient = jax.grad(lambda a: jnp.mean(losses(a)))(jnp.asarray(arrays))
    np.testing.assert_allclose(gradient, given.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("symmetric", "count"), [(True, 2), (False, 2), (True, 3)])
def test_hints_are_those_of_the_other_views(symmetric, count):
    arrays, hints = features(count, EXAMPLES), features(count, EXAMPLES, seed=1)
    objective = cosine_pair(
        project=None, predict=None, hint="projection", symmetric=symmetric, scale=0.25
    )
    assert (objective.needs, objective.calls, objective.scale) == (("projection",), (), 0.25)
    loss, weight, _, carry = objective.find(views_of(arrays, hints=hints), ())
    pairs = [p for p in itertools.permutations(range(count), 2) if symmetric or p[0] == 0]
    given, keys = torch.from_numpy(arrays), torch.from_numpy(hints)
    expected = sum(2 - 2 * cosines(given[a], keys[b]) for a, b in pairs) / len(pairs)
    np.testing.assert_allclose(loss, expected, rtol=PARITY, atol=1e-5)
    np.testing.assert_array_equal(weight, np.ones(EXAMPLES))
    assert carry == ()


def test_the_loss_goes_from_0_to_4():
    """Equal directions, whatever their lengths, cost nothing; opposite ones 4."""
    arrays = features(1, EXAMPLES)[0]
    objective = cosine_pair(project=None, predict=None)
    for factor, expected in ((3.0, 0.0), (-0.1, 4.0)):
        loss = objective.find(views_of(np.stack([arrays, factor * arrays])), ())[0]
        np.testing.assert_allclose(loss, expected, atol=1e-5)


def test_the_spread_tells_a_collapse():
    many = np.random.default_rng(0).standard_normal((4000, 16)).astype(np.float32)
    assert float(spread(jnp.asarray(many)).value) == pytest.approx(1, abs=0.02)
    same = np.broadcast_to(many[:1], many.shape)
    assert float(spread(jnp.asarray(same)).value) == pytest.approx(0, abs=1e-5)
    unit = many / np.linalg.norm(many, axis=-1, keepdims=True)
    np.testing.assert_allclose(spread(jnp.asarray(many)).value, unit.std(0).mean() * 4, rtol=1e-5)


def test_sources_pool_tokens_or_take_the_class_token():
    view = views_of(features(1, EXAMPLES))[0]
    tokens = np.random.default_rng(0).standard_normal((EXAMPLES, 3, WIDTH)).astype(np.float32)
    prefix = tokens[:, :2] * 2
    view = view._replace(encoded=view.encoded._replace(prefix=prefix, tokens=tokens))
    np.testing.assert_allclose(mean_tokens(view), tokens.mean(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(class_token(view), prefix[:, 0])
    bare = view._replace(encoded=view.encoded._replace(prefix=prefix[:, :0]))
    with pytest.raises(ObjectiveError, match=r"model\.class_token=True"):
        class_token(bare)


def masked_views(hidden, outputs):
    """Views that predict their hidden tokens: bool[views, B, N], f32[views, B, N, V]."""
    masks, heads = [], []
    for rows, values in zip(hidden, outputs, strict=True):
        predict = np.stack([np.flatnonzero(row) for row in rows]).astype(np.int32)
        visible = np.stack([np.flatnonzero(~row) for row in rows]).astype(np.int32)
        masks.append(Mask(visible, predict, rows, np.ones(predict.shape, np.float32)))
        heads.append({"pixels": np.take_along_axis(values, predict[..., None], axis=1)})
    examples = hidden.shape[1]
    return views_of(features(len(hidden), examples), outputs=heads, masks=masks)


def hidden_sets(counts, examples=4, length=9):
    """Random hidden sets bool[views, B, N], `counts` tokens in each view."""
    rng = np.random.default_rng(5)
    ranks = rng.random((len(counts), examples, length)).argsort(-1).argsort(-1)
    return ranks < np.asarray(counts)[:, None, None]


@pytest.mark.parametrize("counts", [(6, 4), (5, 5, 7)])
def test_agreement_counts_tokens_that_are_hidden_in_both(counts):
    hidden = hidden_sets(counts)
    outputs = np.random.default_rng(6).standard_normal((*hidden.shape, 3)).astype(np.float32)
    objective = agree_hidden(head="pixels", loss=squared_error)
    loss, weight, metrics, _ = objective.find(masked_views(hidden, outputs), ())
    total = count = 0
    for one, other in itertools.combinations(range(len(counts)), 2):
        both = hidden[one] & hidden[other]
        total += np.sum(np.mean((outputs[one] - outputs[other]) ** 2, -1)[both])
        count += both.sum()
    np.testing.assert_allclose(jnp.sum(loss * weight) / jnp.sum(weight), total / count, rtol=1e-5)
    pairs = len(counts) * (len(counts) - 1) // 2
    np.testing.assert_allclose(metrics["tokens"].value, count / 4 / pairs, rtol=1e-6)


def test_agreement_sends_gradients_to_co_masked_tokens_of_both_views_alone():
    hidden = hidden_sets((6, 4))
    outputs = np.random.default_rng(6).standard_normal((*hidden.shape, 3)).astype(np.float32)
    views = masked_views(hidden, outputs)

    def value(heads):
        given = [v._replace(outputs=h) for v, h in zip(views, heads, strict=True)]
        loss, weight, *_ = agree_hidden(head="pixels").find(given, ())
        return jnp.sum(loss * weight)

    gradients = jax.grad(value)([view.outputs for view in views])
    for number, gradient in enumerate(gradients):
        mask, reached = views[number].mask, np.any(np.asarray(gradient["pixels"]), axis=-1)
        both = np.take_along_axis(hidden[0] & hidden[1], mask.predict, axis=1)
        np.testing.assert_array_equal(reached, both)


def test_agreement_without_common_hidden_tokens_is_zero_and_so_is_its_gradient():
    first = hidden_sets((5,))[0]
    hidden = np.stack([first, ~first])
    outputs = np.random.default_rng(6).standard_normal((*hidden.shape, 3)).astype(np.float32)
    views = masked_views(hidden, outputs)

    def value(heads):
        given = [v._replace(outputs=h) for v, h in zip(views, heads, strict=True)]
        loss, weight, metrics, _ = agree_hidden(head="pixels").find(given, ())
        return Mean(jnp.sum(loss * weight), jnp.sum(weight)).value, metrics["tokens"].value

    (term, tokens), gradients = jax.value_and_grad(value, has_aux=True)([v.outputs for v in views])
    assert float(term) == float(tokens) == 0
    for gradient in jax.tree.leaves(gradients):
        np.testing.assert_array_equal(gradient, 0)


def test_a_view_that_predicts_no_token_is_refused():
    hidden = np.stack([np.zeros((4, 9), bool), hidden_sets((5,))[0]])
    views = masked_views(hidden, np.zeros((*hidden.shape, 3), np.float32))
    with pytest.raises(ObjectiveError, match="the sampler hides none of view 0"):
        agree_hidden(head="pixels").find(views, ())


def test_views_without_predictions_are_refused():
    with pytest.raises(ObjectiveError, match="view 0 has none: add it to predicts"):
        agree_hidden(head="pixels").find(views_of(features(2, 3)), ())
