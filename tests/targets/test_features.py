"""Features as targets: what a LayerNorm without factors makes of the predicted tokens."""

import jax.numpy as jnp
import numpy as np

from maskmim.targets.features import layer_normed_features
from maskmim.types import Context, Mask, View
from tests.comparing import close


def view_of(features, places):
    """A View with the hint 'features', whose predicted tokens are at some places."""
    places = jnp.asarray(places, jnp.int32)
    mask = Mask(places, places, jnp.zeros(features.shape[:2], bool), jnp.ones(places.shape))
    context = Context({}, {"image": features.shape[1:2]}, {"features": jnp.asarray(features)})
    return View(None, context, (), mask, None, {}, {})


def test_a_layer_norm_has_mean_0_and_biased_variance_1():
    rng = np.random.default_rng(0)
    features = rng.normal(2, 3, (2, 5, 7)).astype(np.float32)
    chosen = np.stack([features[0, [0, 3]], features[1, [4, 1]]]).astype(np.float64)
    centred = chosen - chosen.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    close(layer_normed_features(view_of(features, [[0, 3], [4, 1]])), expected, 1e-6)
    same = np.full_like(features, 4.0)
    np.testing.assert_array_equal(layer_normed_features(view_of(same, [[0], [1]])), 0.0)
