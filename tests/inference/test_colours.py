"""PCA colours against scikit-learn's components, and what they refuse."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from maskmim.inference.colours import RANGE, pca_colours
from maskmim.inference.loaded import InferenceError
from tests.tolerances import REORDERED


@pytest.mark.parametrize("grid", [(4, 5), (2, 3, 4), (20,)])
def test_colours_are_the_components_of_all_patches(grid):
    features = np.random.default_rng(0).normal(size=(3, *grid, 7)) * np.arange(1, 8) + 5
    made = PCA(3).fit(features.reshape(-1, 7))
    weights = made.components_
    signs = np.sign(weights[np.arange(3), np.abs(weights).argmax(1)])
    wanted = made.transform(features.reshape(-1, 7)) * signs
    low, high = np.percentile(wanted, RANGE, axis=0)
    wanted = ((wanted - low) / (high - low)).clip(0, 1)
    colours = pca_colours(features)
    assert colours.dtype == np.float32 and colours.shape == (3, *grid, 3)
    np.testing.assert_allclose(colours.reshape(-1, 3), wanted, atol=REORDERED)


def test_equal_features_give_one_colour():
    assert np.unique(pca_colours(np.ones((2, 3, 3, 4)))).size == 1


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (np.ones((2, 3, 3, 2)), "no three colours"),
        (np.ones((5, 4)), "no three colours"),
        (np.ones((0, 3, 3, 4)), "no three colours"),
        (np.full((1, 2, 2, 4), np.nan), "not finite"),
    ],
)
def test_features_that_cannot_be_shown_are_refused(features, sentence):
    with pytest.raises(InferenceError, match=sentence):
        pca_colours(features)
