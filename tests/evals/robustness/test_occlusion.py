"""Features of visible tokens are those of the network with these tokens and no others."""

import functools

import jax
import numpy as np
import pytest

from maskmim.config.parse import ConfigError
from maskmim.evals.features import Unsuitable
from maskmim.evals.robustness.classifiers import Classifier
from maskmim.evals.robustness.occlusion import occlusion
from maskmim.masks import colour, uniform
from maskmim.types import Context, Variables, random_key
from tests.evals.small import trained_on
from tests.tiny import tiny_method

pytestmark = pytest.mark.full
RANDOM, GREEN = "maskmim.masks.uniform.random", "maskmim.masks.colour.green"
RATIOS = (0.25, 0.75)


@pytest.fixture(scope="module")
def trained():
    method = tiny_method()
    params, extra = jax.jit(method.init)(random_key(0))
    variables = Variables(params, extra, method.freeze())
    return trained_on(method=method, variables=variables, count=12)


def seen_features(features=None):
    """A classifier brick whose scores are two features; `features` collects what it sees."""

    def classifier(trained, labels, *, scale=1.0):
        def scores(given):
            if features is not None:
                features.append(given)
            return given[:, :2] * scale

        return Classifier(labels, ("a", "b"), "mean", scores, "axes")

    return classifier


def test_hidden_tokens_do_not_enter(trained):
    seen = []
    keywords = {"samplers": (RANDOM, GREEN), "ratios": RATIOS, "images": 8}
    found = {m.name: m for m in occlusion(trained, **keywords, classifier=seen_features(seen))}
    assert list(found)[-1] == "occlusion/whole" and found["occlusion/whole"].picture.ndim == 3
    (batch,) = trained.test.batches(8)
    net, params = trained.method.net, trained.variables.params
    arrays, randomness = {"image": batch["image"]}, trained.randomness(batch["record"])
    context = Context(arrays, net.grids, {})
    cases = {"occlusion/whole": None}
    for title, sampler in (("random", uniform.random), ("green", colour.green)):
        for ratio in RATIOS:
            mask = functools.partial(sampler, ratio=ratio)(randomness, context)
            assert mask.visible.shape == (8, round(12 * (1 - ratio)))
            cases[f"occlusion/{title}/{ratio:g}"] = mask
    for given, (name, mask) in zip(seen, cases.items(), strict=True):
        tokens = net.encode(params, net.inputs(arrays), mask).tokens
        expected = np.asarray(tokens).mean(axis=1)
        np.testing.assert_allclose(given, expected, atol=1e-4 * np.abs(expected).max())
        right = expected[:, :2].argmax(axis=1) == batch["label"]["kind"]
        assert found[name].value == pytest.approx(right.mean())
    assert "at 0.25" in found["occlusion/random/0.75"].text
    assert found["occlusion/random/0.25"].text == ""


def test_what_hides_no_tokens_is_said(trained):
    judge = seen_features()
    with pytest.raises(ConfigError, match="needs attention, which no teacher gives here"):
        list(occlusion(trained, samplers=("maskmim.masks.attention.hint",), classifier=judge))
    encode = trained.method.apply["encode"]

    def other(variables, arrays):
        found = encode(variables, arrays)
        return found._replace(tokens=found.tokens + 1)

    method = trained.method._replace(apply={**trained.method.apply, "encode": other})
    with pytest.raises(Unsuitable, match="another encoder than that of its network"):
        list(occlusion(trained._replace(method=method), classifier=judge))
