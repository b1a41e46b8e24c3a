"""Errors of predicted embeddings: against plain loops, and what simple guesses are worth."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.data import embeddings
from maskmim.evals.embedding_errors import embedding_errors, sums_of_sequence, unit
from maskmim.evals.trained import Source
from maskmim.training.build import build_method
from tests.evals.small import trained_on


def test_sums_equal_plain_loops():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((9, 5)).astype(np.float32)
    places, counted = np.array([1, 2, 5, 6, 8]), np.array([True, True, True, True, False])
    visible, seen = np.array([0, 3, 4, 7]), np.array([True, True, True, False])
    predicted = truth[places] + rng.standard_normal((5, 5)).astype(np.float32)
    found = sums_of_sequence(truth, predicted, places, counted, visible, seen)
    expected = np.zeros(5)
    hidden, known, units = [1, 2, 5, 6], [0, 3, 4], unit(truth)
    for at, place in enumerate(hidden):
        nearest = min(known, key=lambda other, place=place: (abs(other - place), other))
        before = max((k for k in known if k <= place), default=known[0])
        after = min((k for k in known if k >= place), default=known[-1])
        share = (place - before) / max(after - before, 1)
        line = units[before] * (1 - share) + units[after] * share if after > before else units[4]
        guesses = predicted[at], truth[nearest], line
        expected[:3] += [unit(np.stack([g]))[0] @ units[place] for g in guesses]
        cosines = [unit(predicted[[at]])[0] @ units[other] for other in hidden]
        expected[3] += np.argmax(cosines) == at
    expected[4] = 4
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_sequence_without_anything_to_predict_counts_nothing():
    truth, none = np.ones((3, 2), np.float32), np.zeros(1, bool)
    for counted, seen in ((none, ~none), (~none, none)):
        found = sums_of_sequence(truth, truth[:1], np.array([1]), counted, np.array([0]), seen)
        assert not found.any()


@pytest.mark.full
@pytest.mark.proves(104, "predictions are measured beside a copy and a line between neighbours")
def test_the_measure_of_an_untrained_network():
    spec, method = build_method(load("lv_mae:tiny"))
    records = embeddings.stories(count=10, longest=16, width=16, seed=1)
    transforms = embeddings.first_span, embeddings.random_span
    source = Source("evals.test", lambda: records, spec, embeddings.as_stored, *transforms, 8, {})
    variables = jax.jit(method.variables)(jax.random.key(0))
    held = trained_on(method=method, variables=variables, spec=spec, test=source)
    found = {measured.name: measured.value for measured in embedding_errors(held)}
    assert found["embeddings/cosine_of_copy"] > 0.3 > abs(found["embeddings/cosine"])
    assert found["embeddings/cosine_of_line"] > 0.3 > found["embeddings/found"]
