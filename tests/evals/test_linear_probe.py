from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from maskmim.evals.features import FeatureError, Split, Unsuitable
from maskmim.evals.linear_probe import linear_probe, linear_probe_sgd
from maskmim.evals.rate_sweep import best_index, stratified_split
from tests.evals.planted import CLASSES, clusters, without_meaning


def shuffled_test(data, seed=0):
    """The same features with test labels and test images mixed up."""
    rng = np.random.default_rng(seed)
    labels = {name: rng.permutation(values) for name, values in data.test.labels.items()}
    return data._replace(test=Split(data.test.features[::-1].copy(), labels))


@pytest.mark.parametrize("probe", [linear_probe, linear_probe_sgd])
def test_agrees_with_logistic_regression(probe):
    data = clusters(noise=2.0)
    found = dict(probe(data))
    title = "linear" if probe is linear_probe else "linear_sgd"
    assert set(found) == {
        f"{title}/{name}/{kind}" for name in CLASSES for kind in ("top1", "lr", "held_out")
    }
    for name in CLASSES:
        regression = LogisticRegression(max_iter=500)
        regression.fit(data.train.features, data.train.labels[name])
        expected = regression.score(data.test.features, data.test.labels[name])
        assert 0.6 < expected < 0.95
        assert found[f"{title}/{name}/top1"] == pytest.approx(expected, abs=0.05)


def test_planted_clusters_are_found_and_noise_is_chance():
    assert dict(linear_probe(clusters(noise=0.1)))["linear/fine/top1"] == 1.0
    data = without_meaning()
    found = dict(linear_probe(data))
    for name, names in CLASSES.items():
        chance = 1 / len(names)
        error = np.sqrt(chance * (1 - chance) / len(data.test.features))
        assert abs(found[f"linear/{name}/top1"] - chance) < 4 * error


def test_the_test_split_never_chooses():
    data = clusters(noise=2.0)
    honest, mixed = dict(linear_probe(data)), dict(linear_probe(shuffled_test(data)))
    for name in CLASSES:
        for kind in ("lr", "held_out"):
            assert honest[f"linear/{name}/{kind}"] == mixed[f"linear/{name}/{kind}"]
        assert honest[f"linear/{name}/top1"] > mixed[f"linear/{name}/top1"] + 0.2


def test_a_useless_rate_is_not_chosen():
    found = dict(linear_probe(clusters(noise=0.5), base_lrs=(1e-9, 5.0)))
    assert found["linear/fine/lr"] == found["linear/coarse/lr"] == 5.0


def test_the_same_seed_gives_the_same_numbers_and_another_does_not():
    data = clusters(noise=3.0)
    runs = [dict(linear_probe(data, seed=seed)) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_all_training_images_make_the_final_classifier():
    data = clusters(noise=2.0)
    found = dict(linear_probe(data, base_lrs=(5.0,), held_out=0.9))
    for name in CLASSES:
        assert found[f"linear/{name}/top1"] > found[f"linear/{name}/held_out"] + 0.1


def test_the_scale_and_offset_of_features_play_no_part():
    data = clusters(noise=2.0)

    def moved(split):
        return Split(split.features * 100 + 7, split.labels)

    other = data._replace(train=moved(data.train), test=moved(data.test))
    first, second = dict(linear_probe(data)), dict(linear_probe(other))
    for name in CLASSES:
        assert first[f"linear/{name}/top1"] == pytest.approx(
            second[f"linear/{name}/top1"], abs=0.02
        )


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_the_split_is_stratified_complete_and_seeded(share):
    labels = np.random.default_rng(0).integers(0, 7, 500)
    kept, held = stratified_split(labels, share=share, seed=1)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(500))
    assert len(held) == round(share * 500)
    for name in range(7):
        assert abs((labels[held] == name).sum() - share * (labels == name).sum()) <= 2
    again, other = (stratified_split(labels, share=share, seed=s)[1] for s in (1, 2))
    np.testing.assert_array_equal(held, again)
    assert set(held) != set(other)


def test_each_class_keeps_an_image_for_training():
    labels = np.array([0, 1, 1, 2, 2, 2, 3])
    kept, held = stratified_split(labels, share=0.9, seed=0)
    assert set(labels[kept]) == {0, 1, 2, 3} and len(held) == 3


def test_splits_that_cannot_be():
    with pytest.raises(Unsuitable, match="among 4 training images no class has two"):
        stratified_split(np.arange(4), share=0.2, seed=0)
    with pytest.raises(FeatureError, match=r"held_out = 1\.0"):
        stratified_split(np.zeros(4), share=1.0, seed=0)


def test_choice():
    assert best_index(np.array([0.5, 0.7, 0.6]), np.array([1.0, 2.0, 3.0])) == 1
    assert best_index(np.array([0.5, 0.7, 0.7]), np.array([1.0, 2.0, 1.5])) == 2
    assert best_index(np.array([0.5, 0.7]), np.array([1.0, np.nan])) == 0
    with pytest.raises(Unsuitable, match="diverged"):
        best_index(np.array([0.5]), np.array([np.inf]))


def test_what_cannot_be_measured_is_said():
    data = clusters(noise=0.1)
    with pytest.raises(Unsuitable, match="labels"):
        dict(linear_probe(data._replace(classes={})))
    empty = Split(data.test.features[:0], {name: v[:0] for name, v in data.test.labels.items()})
    with pytest.raises(Unsuitable, match="test image"):
        dict(linear_probe(data._replace(test=empty)))
