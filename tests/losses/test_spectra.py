"""The focal frequency loss against numpy's Fourier transform and the formula."""

import jax
import numpy as np

from maskmim.losses.spectra import focal_frequency
from tests.tolerances import PARITY


def by_numpy(prediction, target):
    """One picture in float64, weights by the formula."""
    spectra = [np.fft.fft2(each.astype(np.float64), axes=(0, 1)) for each in (prediction, target)]
    distance = np.abs(spectra[0] - spectra[1]) / np.sqrt(prediction[..., 0].size)
    weight = np.log(1 + distance)
    return np.mean(weight / weight.max() * distance**2)


def pictures(count=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, 2, 6, 8, 3)).astype(np.float32)


def test_equals_the_formula():
    for prediction, target in pictures():
        expected = by_numpy(prediction, target)
        np.testing.assert_allclose(focal_frequency(prediction, target), expected, rtol=PARITY)
    together = focal_frequency(*np.moveaxis(pictures(), 1, 0))
    np.testing.assert_allclose(together, [by_numpy(*pair) for pair in pictures()], rtol=PARITY)


def test_no_gradient_passes_through_the_weights():
    """With constant weights the loss is quadratic: the gradient times the error is twice it."""
    (prediction, target), *_ = pictures()
    loss, gradient = jax.value_and_grad(focal_frequency)(prediction, target)
    np.testing.assert_allclose(np.sum(gradient * (prediction - target)), 2 * loss, rtol=PARITY)


def test_the_loss_and_gradient_of_equal_pictures_are_zero():
    (picture, _), *_ = pictures()
    loss, gradient = jax.value_and_grad(focal_frequency)(picture, picture)
    assert loss == 0 and not np.any(gradient)


def test_large_distances_weigh_more():
    """Of two waves the stronger one, of distance 4, has the weight 1, that of 0.4 less."""
    rows = np.arange(8)[:, None, None] * np.ones((8, 8, 1))
    waves = [size * np.cos(2 * np.pi * rate * rows / 8) for size, rate in ((1, 1), (0.1, 3))]
    strong, weak = (each.astype(np.float32) for each in waves)
    alone = [float(focal_frequency(each, np.zeros_like(each))) for each in (strong, weak)]
    both = float(focal_frequency(strong + weak, np.zeros_like(strong)))
    expected = alone[0] + alone[1] * np.log1p(0.4) / np.log1p(4)
    np.testing.assert_allclose(both, expected, rtol=PARITY)
