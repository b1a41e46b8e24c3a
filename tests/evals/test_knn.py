from __future__ import annotations

import jax
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from maskmim.evals.features import Features, Split, Unsuitable
from maskmim.evals.knn import knn, neighbours, vote
from tests.evals.planted import CLASSES, FINE, clusters, without_meaning

TEMPERATURE = 0.07


def oracle(bank, queries, k):
    """Cosines and places of the k nearest in float64, the first of equals first."""
    bank, queries = (x.astype(np.float64) for x in (bank, queries))
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    cosines = queries @ bank.T
    places = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(cosines, places, axis=1), places


@pytest.mark.parametrize(
    ("k", "query_chunk", "bank_chunk"),
    [(1, 64, 300), (20, 64, 300), (20, 7, 7), (20, 500, 64), (300, 64, 90)],
)
def test_neighbours_are_exact_for_any_chunks(k, query_chunk, bank_chunk):
    data = without_meaning(train=300, test=100)
    bank, queries = data.train.features, data.test.features
    cosines, places = neighbours(bank, queries, k=k, query_chunk=query_chunk, bank_chunk=bank_chunk)
    expected_cosines, expected_places = oracle(bank, queries, k)
    np.testing.assert_allclose(cosines, expected_cosines, atol=1e-6)
    np.testing.assert_array_equal(places, expected_places)


def test_of_equal_neighbours_the_first_comes_first_across_chunks():
    bank = np.tile(np.eye(4, dtype=np.float32)[:1], (10, 1))
    _, places = neighbours(bank, bank[:2], k=6, query_chunk=2, bank_chunk=4)
    np.testing.assert_array_equal(places, [[0, 1, 2, 3, 4, 5]] * 2)


def test_negative_cosines_are_never_beaten_by_padding():
    bank = -np.eye(3, dtype=np.float32)[[0, 0, 0]]
    cosines, places = neighbours(bank, -bank[:1], k=3, query_chunk=1, bank_chunk=2)
    np.testing.assert_allclose(cosines, [[-1, -1, -1]])
    np.testing.assert_array_equal(places, [[0, 1, 2]])


@pytest.mark.parametrize("temperature", [TEMPERATURE, 0.5, 0.001])
def test_votes_agree_with_sklearn(temperature):
    data = clusters(noise=1.5)
    bank, queries = data.train, data.test

    def weights(distances):
        return np.exp((distances.min(axis=1, keepdims=True) - distances) / temperature)

    classifier = KNeighborsClassifier(20, weights=weights, metric="cosine", algorithm="brute")
    classifier.fit(bank.features, bank.labels["fine"])
    found = neighbours(bank.features, queries.features, k=20, query_chunk=50, bank_chunk=100)
    voted = vote(*found, bank.labels["fine"], temperature=temperature, classes=FINE, chunk=50)
    expected = classifier.predict(queries.features)
    assert 0.5 < np.mean(expected == queries.labels["fine"]) < 0.99
    np.testing.assert_array_equal(voted, expected)
    share = dict(knn(data, temperature=temperature))["knn/fine/top1"]
    assert share == pytest.approx(classifier.score(queries.features, queries.labels["fine"]))


@pytest.mark.parametrize(("temperature", "winner"), [(0.07, 1), (10.0, 0)])
def test_weights_matter_beside_counts(temperature, winner):
    cosines, places = np.array([[0.99, 0.5, 0.5]], np.float32), np.array([[0, 1, 2]])
    labels = np.array([1, 0, 0])
    voted = vote(cosines, places, labels, temperature=temperature, classes=2, chunk=1)
    assert int(voted[0]) == winner


def test_planted_clusters_are_found_and_noise_is_chance():
    assert dict(knn(clusters(noise=0.1))) == {"knn/fine/top1": 1.0, "knn/coarse/top1": 1.0}
    data = without_meaning()
    for name, share in knn(data):
        chance = 1 / len(CLASSES[name.split("/")[1]])
        error = np.sqrt(chance * (1 - chance) / len(data.test.features))
        assert abs(share - chance) < 4 * error


def test_the_length_of_features_plays_no_part():
    data = clusters(noise=1.0)
    rng = np.random.default_rng(1)

    def scaled(split):
        lengths = rng.uniform(0.1, 1e3, (len(split.features), 1)).astype(np.float32)
        return Split(split.features * lengths, split.labels)

    longer = Features(scaled(data.train), scaled(data.test), data.classes)
    assert dict(knn(longer)) == dict(knn(data))


def test_features_of_zeros_are_no_nan():
    data = clusters(noise=0.1)
    data.test.features[:] = 0
    assert all(0 <= share <= 1 for _, share in knn(data))


def test_what_cannot_be_measured_is_said():
    data = clusters(noise=0.1, train=12)
    with pytest.raises(
        Unsuitable, match=r"k = 20 .* has 12: set evals.probes.knn.k between 1 and 12"
    ):
        dict(knn(data))
    with pytest.raises(Unsuitable, match="labels"):
        dict(knn(data._replace(classes={}), k=3))
    empty = Split(np.zeros((0, 16), np.float32), {"fine": np.zeros(0, np.int32)})
    with pytest.raises(Unsuitable, match="test image"):
        dict(knn(data._replace(test=empty), k=3))


def test_a_second_call_compiles_nothing(caplog):
    data = clusters(noise=1.0, width=17)
    with jax.log_compiles():
        first = dict(knn(data))
        assert "neighbours" in caplog.text
        caplog.clear()
        assert dict(knn(data)) == first
    assert "neighbours" not in caplog.text and "vote" not in caplog.text
