"""VideoMAE's targets against numpy, and the way back to pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.masks.core import from_scores
from maskmim.models.videomae import vit_videomae
from maskmim.targets.cubes import denormalise, normalised_cubes
from maskmim.types import Context, Spec, View

SPEC = Spec((4, 8, 12), 3, (0.4, 0.5, 0.6), (0.1, 0.2, 0.3), stream="video")
GRID, PATCH = (2, 2, 3), (2, 4, 4)


def view_of(clips):
    net = vit_videomae(SPEC, variant="nano", patch=PATCH, decoder="1x32x2")
    mask = from_scores(jax.random.uniform(jax.random.key(0), (len(clips), 12)), ratio=0.5)
    batch = {"video": jnp.asarray(clips)}
    return View(net, Context(batch, net.grids, {}), net.inputs(batch), mask, None, {}, {})


@pytest.fixture(scope="module")
def view():
    clips = np.random.default_rng(0).integers(0, 256, (3, *SPEC.shape), np.uint8)
    clips[:, :, :4, :4, 1] = 90  # one channel of the first cubes is flat
    return view_of(clips)


def by_hand(view):
    """Cubes of the predicted tokens, cut one by one: f64[B, P, 2, 4, 4, 3] in [0, 1]."""
    clips = np.asarray(view.context.batch["video"], np.float64) / 255
    cut = []
    for clip, row in zip(clips, np.asarray(view.mask.predict), strict=True):
        corners = [np.array(np.unravel_index(token, GRID)) * PATCH for token in row]
        cut.append([clip[t : t + 2, y : y + 4, x : x + 4] for t, y, x in corners])
    return np.array(cut)


@pytest.mark.proves(
    21, "targets are pixels in [0, 1] with each cube's and channel's mean and deviation + 1e-6"
)
def test_each_channel_of_a_cube_is_normalised_over_space_and_time(view):
    cubes = by_hand(view)
    mean = cubes.mean((2, 3, 4), keepdims=True)
    deviation = cubes.std((2, 3, 4), ddof=1, keepdims=True)
    expected = ((cubes - mean) / (deviation + 1e-6)).reshape(*cubes.shape[:2], -1)
    targets = np.asarray(normalised_cubes(view))
    flat = (deviation < 1e-9)[..., 0, 0, 0, :].any(-1)
    assert flat.any() and not flat.all()
    np.testing.assert_allclose(targets[~flat], expected[~flat], rtol=1e-4, atol=1e-4)
    assert np.abs(targets[flat]).max() < 5
    biased = (cubes - mean) / (cubes.std((2, 3, 4), keepdims=True) + 1e-6)
    wrong = np.abs(targets[~flat] - biased.reshape(expected.shape)[~flat]).max()
    assert wrong > 20 * np.abs(targets[~flat] - expected[~flat]).max()


@pytest.mark.proves(
    21, "the small number is added to the deviation of pixels in [0, 1], not within"
)
def test_dark_cubes_show_where_the_small_number_is_added():
    """Black cubes with one pixel of the lowest value: their variance is about the small number."""
    clips = np.zeros((1, *SPEC.shape), np.uint8)
    clips[:, ::2, ::4, ::4] = 1
    view = view_of(clips)
    cubes = by_hand(view)
    deviation = cubes.std((2, 3, 4), ddof=1, keepdims=True)
    expected = (cubes - cubes.mean((2, 3, 4), keepdims=True)) / (deviation + 1e-6)
    targets = np.asarray(normalised_cubes(view)).reshape(expected.shape)
    np.testing.assert_allclose(targets, expected, rtol=1e-4)
    of_bytes = expected * (deviation + 1e-6) / (deviation + 1e-6 / 255)
    assert np.abs(of_bytes / expected - 1).max() > 1e-3
    within = expected * (deviation + 1e-6) / np.sqrt(deviation**2 + 1e-6)
    assert np.abs(within / expected - 1).max() > 0.1


def test_a_perfect_prediction_becomes_the_pixels(view):
    cubes = by_hand(view)
    expected = (cubes - np.array(SPEC.mean)) / np.array(SPEC.std)
    pixels = np.asarray(denormalise(view, normalised_cubes(view))).reshape(cubes.shape)
    np.testing.assert_allclose(pixels, expected, atol=1e-3)
