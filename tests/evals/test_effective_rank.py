"""RankMe and the spread of directions: values against other ways to compute them, warnings."""

import numpy as np
import pytest

from maskmim.evals.effective_rank import deviation_of, effective_rank, feature_std, rank_of
from maskmim.evals.features import FeatureError, Unsuitable
from maskmim.evals.trained import spread
from tests.evals.small import trained_on


def directions(rows, width, strengths, seed=0):
    """Features f32[rows, width] with the given singular values."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(rows, len(strengths))))[0]
    right = np.linalg.qr(rng.normal(size=(width, len(strengths))))[0]
    return (left * np.asarray(strengths) @ right.T).astype(np.float32)


def expected_rank(features):
    """RankMe by the eigenvalues of the features' products, in a loop."""
    squares = np.linalg.eigvalsh(np.asarray(features, np.float64) @ features.T.astype(np.float64))
    values = sorted(np.sqrt(np.maximum(squares, 0.0)), reverse=True)[: min(features.shape)]
    entropy = 0.0
    for value in values:
        share = value / sum(values) + 1e-7
        entropy -= share * np.log(share)
    return np.exp(entropy)


@pytest.mark.parametrize("shape", [(40, 6), (6, 40), (16, 16)])
def test_the_rank_is_rankme(shape):
    features = np.random.default_rng(1).normal(size=shape).astype(np.float32) + 0.3
    np.testing.assert_allclose(rank_of(features), expected_rank(features), rtol=1e-4)


def test_equal_directions_count_each_and_weak_ones_less():
    assert rank_of(directions(50, 12, [2.0] * 5)) == pytest.approx(5.0, rel=1e-4)
    two = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert rank_of(directions(50, 12, [3.0, 1.0])) == pytest.approx(np.exp(two), rel=1e-4)
    assert rank_of(np.zeros((5, 3), np.float32)) == 1.0


def test_the_spread_is_one_for_all_directions_and_zero_for_one():
    rng = np.random.default_rng(0)
    assert deviation_of(rng.normal(size=(4000, 64))) == pytest.approx(1.0, abs=0.02)
    assert deviation_of(np.tile(rng.normal(size=(1, 64)), (40, 1))) == pytest.approx(0.0, abs=1e-6)
    lengths = rng.uniform(0.1, 9.0, (300, 1))
    features = rng.normal(size=(300, 8))
    assert deviation_of(features * lengths) == pytest.approx(deviation_of(features))
    unit = [row / np.sqrt(sum(row**2)) for row in features]
    by_dimension = [np.sqrt(np.mean((c - np.mean(c)) ** 2)) for c in np.transpose(unit)]
    assert deviation_of(features) == pytest.approx(np.mean(by_dimension) * np.sqrt(8))


def collapsed(noise):
    rng = np.random.default_rng(0)
    one = rng.normal(size=(1, 32))
    return (one + noise * rng.normal(size=(200, 32))).astype(np.float32)


def test_collapsed_features_are_warned_of_with_their_values():
    for measure, words in (
        (effective_rank, "effective rank is 1.0 of at most 32"),
        (feature_std, "deviation of their directions is "),
    ):
        (found,) = measure(trained_on(collapsed(1e-4)))
        assert words in found.warning and "optim.lr" in found.warning
        (sound,) = measure(trained_on(collapsed(1.0)))
        assert sound.warning == ""
        (untrained,) = measure(trained_on(collapsed(1e-4), step=0))
        assert untrained.warning == "" and untrained.value == found.value


def test_a_rank_that_falls_far_below_the_first_is_warned_of():
    features = directions(200, 32, [1.0] * 2)
    rank = effective_rank(trained_on(features, start={"effective_rank": 15.0}))
    assert "effective rank is 2.0 of at most 32, after 15.0 at first" in next(rank).warning
    for start in ({"effective_rank": 4.0}, {}):
        assert next(effective_rank(trained_on(features, start=start))).warning == ""
    assert next(effective_rank(trained_on(features), least=0.5)).warning != ""


def test_a_spread_is_judged_by_the_start_where_it_is_known():
    narrow, value = collapsed(1e-3), deviation_of(collapsed(1e-3))
    assert next(feature_std(trained_on(narrow))).warning == "" and value > 1e-3
    wide = {"start": {"feature_std": 20 * value}}
    words = f"is {value:.2g}, after {20 * value:.2g} at first, where 1"
    assert words in next(feature_std(trained_on(narrow, **wide))).warning
    assert next(feature_std(trained_on(narrow, **wide), least_of_start=0.01)).warning == ""
    # A network whose features are as close before training has not collapsed.
    closer = collapsed(1e-5)
    assert next(feature_std(trained_on(closer))).warning != ""
    start = {"feature_std": deviation_of(closer)}
    assert next(feature_std(trained_on(closer, start=start))).warning == ""
    assert next(feature_std(trained_on(closer, untrained=closer))).warning == ""
    untrained = collapsed(1.0)
    assert "at first" in next(feature_std(trained_on(closer, untrained=untrained))).warning
    assert next(feature_std(trained_on(closer, untrained=untrained, start=start))).warning == ""


def test_a_rank_is_judged_by_the_untrained_encoder_without_a_first_evaluation():
    features, untrained = directions(200, 32, [1.0] * 2), directions(200, 32, [1.0] * 15)
    (found,) = effective_rank(trained_on(features, untrained=untrained), images=20)
    start = rank_of(untrained[spread(200, 20)])
    assert f"effective rank is 1.9 of at most 20, after {start:.1f} at first" in found.warning


@pytest.mark.parametrize("measure", [effective_rank, feature_std])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_named(measure, value):
    features = collapsed(1.0)
    features[[3, 5], 2] = value
    with pytest.raises(FeatureError, match="NaN or infinite numbers for 2 of 200 images"):
        next(measure(trained_on(features)))


def test_texts_name_the_most_that_is_possible():
    features = directions(200, 32, [1.0] * 4)
    assert next(effective_rank(trained_on(features))).text == "rank 4 of 32"
    assert next(effective_rank(trained_on(features), images=9)).text.endswith("of 9")


def test_a_single_image_has_no_rank():
    for measure in (effective_rank, feature_std):
        with pytest.raises(Unsuitable, match=r"only 1.*evals\.test"):
            next(measure(trained_on(collapsed(1.0)[:1])))
