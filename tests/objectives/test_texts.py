"""The contrast of pictures and texts against torch, and its learned temperature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from maskmim.models.calls import with_calls
from maskmim.models.clip_text import clip_text, held_below, inverse_temperature
from maskmim.models.layers.errors import ModelError
from maskmim.objectives.classification import ObjectiveError
from maskmim.objectives.texts import match_texts
from maskmim.types import LearnedFunction
from tests.objectives.views import WIDTH, features, net_of, views_of
from tests.tolerances import PARITY

TEXTS, VALUES = 5, 4


def view_of(seed=0, texts=TEXTS, **changes):
    """Pictures as tokens of features, texts as rows of a table, the temperature."""
    rng = np.random.default_rng(seed)
    calls = {
        "picture": rng.normal(size=(WIDTH, VALUES)).astype("f4"),
        "text": rng.normal(size=(texts, changes.pop("values", VALUES))).astype("f4"),
    }
    net = net_of(picture=calls["picture"])
    table = LearnedFunction(lambda key: calls["text"], lambda table, ids: table[ids[:, 0]])
    net = with_calls(net, {"text": lambda width: table, "temperature": inverse_temperature})
    (view,) = views_of(features(1, TEXTS, seed=seed), net=net)
    ids = jnp.arange(TEXTS, dtype=jnp.int32)[:, None]
    context = view.context.__class__({"caption": ids}, net.grids, {})
    return view._replace(context=context, **changes), calls


def test_the_loss_and_its_gradients_equal_torchs_cross_entropies():
    view, calls = view_of()
    objective = match_texts(pooling="mean")
    assert objective.calls == ("picture", "text", "temperature")

    def mean(params):
        loss, weight, metrics, _ = objective.find(view._replace(params=params))
        assert loss.shape == weight.shape == (TEXTS, 1)
        return jnp.sum(loss * weight) / jnp.sum(weight), metrics

    (loss, metrics), gradient = jax.value_and_grad(mean, has_aux=True)(view.params)
    given = {name: torch.from_numpy(array).requires_grad_() for name, array in calls.items()}
    scale = torch.tensor(np.log(1 / 0.07), dtype=torch.float32, requires_grad=True)
    pictures = torch.from_numpy(np.array(view.encoded.tokens[:, 0])) @ given["picture"]
    pictures, texts = F.normalize(pictures, dim=-1), F.normalize(given["text"], dim=-1)
    logits, own = scale.exp() * pictures @ texts.T, torch.arange(TEXTS)
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    expected.backward()
    np.testing.assert_allclose(loss, expected.item(), rtol=PARITY)
    for name, tensor in given.items():
        largest = tensor.grad.abs().max().item()
        np.testing.assert_allclose(gradient[name], tensor.grad, atol=PARITY * largest)
    np.testing.assert_allclose(gradient["temperature"]["scale"], scale.grad, rtol=PARITY)
    hits = {"picture": logits.argmax(1) == own, "text": logits.argmax(0) == own}
    for name, right in hits.items():
        assert metrics[f"{name}_accuracy"].value == pytest.approx(right.float().mean().item())
    assert float(metrics["factor"].value) == pytest.approx(1 / 0.07)


def test_what_does_not_fit_is_an_error():
    view, _ = view_of()
    find = match_texts(pooling="mean").find
    bare = view.context.__class__({}, view.net.grids, {})
    with pytest.raises(ObjectiveError, match=r"lacks the texts 'caption': declare input.fields"):
        find(view._replace(context=bare))
    with pytest.raises(ObjectiveError, match=r"calls.picture gives 4 values, calls.text 3"):
        find(view_of(values=3)[0])
    with pytest.raises(ModelError, match="no function 'words'"):
        match_texts(pooling="mean", text="words").find(view)


def test_a_temperature_at_its_least_has_a_way_back_alone():
    most = float(np.log(100.0))
    gradient = jax.vmap(jax.grad(lambda x: held_below(x, most)))
    values = jnp.float32([0.0, most, most + 1.0])
    np.testing.assert_array_equal(
        [held_below(x, most) for x in values[1:]], np.float32([most, most])
    )
    np.testing.assert_array_equal(gradient(values), np.ones(3))
    against = jax.vmap(jax.grad(lambda x: -held_below(x, most)))(values)
    np.testing.assert_array_equal(against, [-1.0, 0.0, 0.0])
    function = inverse_temperature(7, start=20.0, most=5.0)
    params = function.init(jax.random.key(0))
    assert float(function.call(params)) == pytest.approx(5.0)


def test_a_text_of_another_length_is_an_error():
    function = clip_text(7, vocabulary=9, length=6, variant="1x8x2", values=3)
    with pytest.raises(ModelError, match="for 6 indices gets \\(5,\\)"):
        function.call({}, jnp.zeros((2, 5), jnp.int32))
