"""Classifiers for tests beyond the test images: what the probes learn, as scores of every class."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from maskmim.config.parse import ConfigError
from maskmim.data.arrays import ArrayRecords
from maskmim.data.records import DataError
from maskmim.evals.features import Split, Unsuitable
from maskmim.evals.knn import knn as knn_probe
from maskmim.evals.linear_probe import linear_probe
from maskmim.evals.robustness import classifiers
from maskmim.evals.robustness.classifiers import knn, label_set, linear, own, own_or_linear
from maskmim.evals.trained import Trained
from maskmim.types import Variables
from tests.evals.planted import CLASSES, clusters
from tests.evals.small import trained_on

QUICK = {"base_lrs": (1.0, 10.0), "epochs": 20, "warmup_epochs": 2.0}


def learnt(features, calls=None) -> Trained:
    """A Trained whose training images have the features of a split."""
    labels = features.train.labels
    blank = np.zeros((len(features.train.features), 1, 1, 3), np.uint8)
    train = SimpleNamespace(records=ArrayRecords(blank, labels, classes=CLASSES, title="blank"))
    width = features.train.features.shape[1]
    method = SimpleNamespace(
        net=SimpleNamespace(calls=calls or {}, width=width), evaluated=lambda v: v
    )
    learnt_from = {"train": train, "learnt_from": lambda: features.train}
    return trained_on(method=method, variables=Variables(np.float32(2), {}, {}), **learnt_from)


@pytest.fixture(scope="module")
def features():
    return clusters(noise=1.2)


def test_the_linear_classifier_is_the_probe(features):
    judge = linear(learnt(features), "fine")
    share = judge.right(features.test).mean()
    alone = features._replace(classes={"fine": CLASSES["fine"]})
    assert share == pytest.approx(dict(linear_probe(alone))["linear/fine/top1"])
    theirs = LogisticRegression(max_iter=500).fit(
        features.train.features, features.train.labels["fine"]
    )
    assert share > theirs.score(*features.test[:1], features.test.labels["fine"]) - 0.03
    assert judge.pooling == "mean" and judge.classes == CLASSES["fine"]


def test_it_is_trained_once_for_all_measures(features, monkeypatch):
    calls = []
    monkeypatch.setattr(classifiers, "fit", lambda *given: calls.append(given))
    trained = learnt(features)
    for _ in range(3):
        linear(trained, "coarse", **QUICK)
    assert len(calls) == 1
    linear(trained, "coarse", seed=1, **QUICK)
    linear(learnt(features), "coarse", **QUICK)
    assert len(calls) == 3


def test_neighbours_are_those_of_the_probe(features):
    judge = knn(learnt(features), "coarse", k=7)
    share = judge.right(features.test).mean()
    assert share == pytest.approx(dict(knn_probe(features, k=7))["knn/coarse/top1"])
    bank, queries = (
        each / np.linalg.norm(each, axis=1, keepdims=True)
        for each in (features.train.features, features.test.features)
    )
    cosines = queries @ bank.T
    nearest = np.argsort(-cosines, axis=1)[:, :7]
    top = np.take_along_axis(cosines, nearest, 1)
    weights = np.exp((top - top[:, :1]) / 0.07)
    kinds = features.train.labels["coarse"][nearest]
    expected = np.stack([(weights * (kinds == c)).sum(1) for c in range(3)], 1)
    np.testing.assert_allclose(judge.scores(features.test.features), expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(Unsuitable, match="k = 500 needs as many images, there are 400"):
        knn(learnt(features), "coarse", k=500)


def first_axes(params, features):
    return features[:, :3] * params


def test_the_networks_own_function_comes_first(features):
    trained = learnt(features, {"classify": first_axes})
    judge = own_or_linear(trained, "coarse")
    np.testing.assert_allclose(
        judge.scores(features.test.features), 2 * features.test.features[:, :3]
    )
    assert judge.title == "own classify" and judge.pooling == "mean"
    assert own_or_linear(trained._replace(pooling="class"), "coarse").pooling == "class"
    with pytest.raises(ConfigError, match="tells 3 classes apart, 'fine' has 6"):
        own(trained, "fine")
    with pytest.raises(ConfigError, match="no function 'sort', but classify"):
        own(trained, "coarse", call="sort")


def test_it_learns_where_the_network_has_no_such_function(features, monkeypatch):
    monkeypatch.setattr(classifiers, "linear", lambda trained, labels: labels)
    assert own_or_linear(learnt(features), "coarse") == "coarse"
    assert own_or_linear(learnt(features, {"classify": first_axes}), "fine") == "fine"


def test_other_classes_are_not_considered():
    judge = classifiers.Classifier("kind", ("a", "b", "c"), "mean", lambda f: f, "")
    split = Split(np.array([[3.0, 2, 1], [0, 2, 1], [2, 0, 1]]), {"kind": np.array([1, 2, 0])})
    np.testing.assert_array_equal(judge.right(split), [False, False, True])
    np.testing.assert_array_equal(judge.right(split, (1, 2)), [True, False, False])


def test_the_label_set_with_the_most_classes(features):
    trained = learnt(features)
    assert label_set(trained, "") == "fine" and label_set(trained, "coarse") == "coarse"
    with pytest.raises(ConfigError, match="no labels 'shape', but coarse, fine"):
        label_set(trained, "shape")
    with pytest.raises(Unsuitable, match="names no labelled images"):
        label_set(trained._replace(train=None), "")


def test_test_images_of_other_classes_are_refused(features):
    trained, other = learnt(features), {"coarse": CLASSES["coarse"][::-1]}
    trained = trained._replace(test=SimpleNamespace(records=SimpleNamespace(labels=other)))
    with pytest.raises(DataError, match="coarse: the same classes in another order"):
        label_set(trained, "coarse")
