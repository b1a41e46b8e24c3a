"""The logistic probe: scikit-learn's accuracy with the penalty that held-out images choose."""

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from maskmim.evals.features import Unsuitable
from maskmim.evals.logistic_probe import logistic_probe
from maskmim.evals.rate_sweep import stratified_split
from tests.evals.planted import CLASSES, clusters

PENALTIES = (0.1, 10.0, 1000.0)


def theirs(rows, labels, penalty):
    regression = LogisticRegression(C=1 / penalty, tol=1e-6, max_iter=1000)
    return make_pipeline(StandardScaler(), regression).fit(rows, labels)


def test_the_penalty_is_chosen_on_held_out_images_and_the_rest_is_scikit_learn():
    data = clusters(noise=2.0)
    found = dict(logistic_probe(data, penalties=PENALTIES))
    kept, held = stratified_split(data.train.labels["fine"], share=0.2, seed=0)
    for name in CLASSES:
        rows, labels = data.train.features, data.train.labels[name]
        fits = [theirs(rows[kept], labels[kept], penalty) for penalty in PENALTIES]
        scores = [each.score(rows[held], labels[held]) for each in fits]
        one_image = 1.01 / len(held)
        assert found[f"logistic/{name}/held_out"] == pytest.approx(max(scores), abs=one_image)
        chosen = found[f"logistic/{name}/penalty"]
        assert scores[PENALTIES.index(chosen)] >= max(scores) - one_image
        expected = theirs(rows, labels, chosen).score(data.test.features, data.test.labels[name])
        assert found[f"logistic/{name}/top1"] == pytest.approx(expected, abs=0.004)


def test_what_cannot_be_measured_is_said():
    with pytest.raises(Unsuitable, match="logistic regression needs labels"):
        dict(logistic_probe(clusters(noise=1.0)._replace(classes={})))
