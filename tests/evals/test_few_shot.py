"""Few-shot accuracy: which images are drawn, and the mean over draws against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from maskmim.evals.features import Features, Split, Unsuitable
from maskmim.evals.few_shot import few_shot, images_of_each, padded_size, share_of
from maskmim.evals.logistic import fit
from maskmim.evals.report import build_results, probe_table
from tests.evals.planted import CLASSES, clusters

LABELS = np.array([0] * 7 + [2] * 2 + [1] * 5)


def only_fine(data):
    """The same features with one label set, which is faster."""
    splits = (Split(each.features, {"fine": each.labels["fine"]}) for each in data[:2])
    return Features.of(*splits, {"fine": CLASSES["fine"]})


@pytest.mark.parametrize("count", [1, 3, 5])
def test_each_class_gives_so_many_images_or_all_that_it_has(count):
    drawn = images_of_each(LABELS, count, "a")
    assert list(drawn) == sorted(set(drawn))
    sizes = np.bincount(LABELS[drawn])
    np.testing.assert_array_equal(sizes, np.minimum(np.bincount(LABELS), count))
    np.testing.assert_array_equal(drawn, images_of_each(LABELS, count, "a"))


def test_draws_differ_and_reach_every_image():
    drawn = [tuple(images_of_each(LABELS, 1, str(draw))) for draw in range(60)]
    assert len(set(drawn)) > 20 and set(np.concatenate(drawn)) == set(range(len(LABELS)))


@pytest.mark.parametrize(("share", "size"), [(0.1, 50), (0.001, 1), (1.0, 500)])
def test_a_share_is_drawn_once_each(share, size):
    labels = np.zeros(500, int)
    drawn = share_of(labels, share, "a")
    assert len(drawn) == size == len(set(drawn)) and drawn.max() < 500
    if size < 500:
        assert (drawn != share_of(labels, share, "b")).any()


def test_the_mean_and_the_spread_are_those_of_scikit_learn():
    data = clusters(noise=1.0, train=200)
    found = dict(few_shot(data, shots=(5,), shares=(), draws=3))
    assert set(found) == {f"few_shot_5/{n}/{kind}" for n in CLASSES for kind in ("top1", "spread")}
    for name in CLASSES:
        scores = []
        for draw in range(3):
            labels = data.train.labels[name]
            rows = images_of_each(labels, 5, f"0/{name}/5/{draw}")
            theirs = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            theirs.fit(data.train.features[rows], labels[rows])
            scores.append(theirs.score(data.test.features, data.test.labels[name]))
        top1, spread = (found[f"few_shot_5/{name}/{kind}"] for kind in ("top1", "spread"))
        assert top1 == pytest.approx(np.mean(scores), abs=0.004)
        assert spread == pytest.approx(np.std(scores, ddof=1), abs=0.004)


def test_a_setting_changes_no_other():
    data = only_fine(clusters(noise=1.0, train=100))
    alone = dict(few_shot(data, shots=(2,), shares=(), draws=2))
    beside = dict(few_shot(data, shots=(2, 3), shares=(0.1,), draws=2))
    assert {name: beside[name] for name in alone} == alone
    assert "few_shot_10_percent/fine/top1" in beside
    assert dict(few_shot(data, shots=(2,), shares=(), draws=2, seed=1)) != alone


def test_settings_and_draws_share_compiled_programs():
    data = only_fine(clusters(noise=1.0, train=101, width=9))
    before = fit._cache_size()
    dict(few_shot(data, shots=(1, 2), shares=(0.1, 0.3), draws=2))
    assert fit._cache_size() == before + 1
    assert [padded_size(n) for n in (1, 1024, 1025, 128_116)] == [1024, 1024, 2048, 131_072]


def test_the_table_shows_the_spread_over_draws():
    metrics = {"few_shot_5/fine/top1": 0.25, "few_shot_5/fine/spread": 0.031}
    metrics |= {"few_shot_10_percent/fine/top1": 0.5, "few_shot_10_percent/fine/spread": 0.02}
    results = build_results(
        {"this encoder": metrics},
        dimensions={"this encoder": 8},
        classes={"fine": 6},
        train_images=100,
        test_images=100,
        evaluators={},
        skipped={},
        failed={},
        seconds={},
    )
    table = probe_table(results)
    assert "25.0 ± 3.1" in table and "50.0 ± 2.0" in table
    assert "5-shot" in table and " 10 % of labels " in table
    assert "deviation over draws" in table
    assert max(map(len, table.splitlines())) <= 80


def test_what_cannot_be_measured_is_said():
    with pytest.raises(Unsuitable, match="few-shot probe needs labels"):
        dict(few_shot(clusters(noise=1.0)._replace(classes={})))
