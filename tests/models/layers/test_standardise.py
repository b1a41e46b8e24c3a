"""Standardisation by the middle of an example's values."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.models.layers.standardise import standardise_trimmed
from tests.tolerances import PARITY


@pytest.mark.parametrize("shape", [(3, 5, 7, 1), (2, 4, 4, 3), (1, 3, 1, 1)])
def test_equals_the_formula_on_sorted_values(shape):
    rng = np.random.default_rng(0)
    values = (5 + 3 * rng.standard_normal(shape) ** 3).astype(np.float32)
    flat = torch.from_numpy(values).flatten(1)
    count = flat.shape[1]
    middle = flat.sort(dim=1)[0][:, int(0.1 * count) : int(0.9 * count)]
    spread = torch.sqrt(middle.var(dim=1, keepdim=True) + 1e-6)
    expected = ((flat - middle.mean(dim=1, keepdim=True)) / spread).numpy().reshape(shape)
    found = np.asarray(standardise_trimmed(jnp.asarray(values)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=PARITY * np.abs(expected).max())


def test_outliers_shift_nothing_and_equal_values_become_zeros():
    values = np.linspace(0, 1, 100, dtype=np.float32).reshape(1, 10, 10, 1)
    far = values.copy()
    far[0, -1, -5:] = 1e6
    inside = np.s_[:, :-1]
    np.testing.assert_allclose(
        standardise_trimmed(far)[inside], standardise_trimmed(values)[inside], atol=1e-5
    )
    equal = standardise_trimmed(np.full((2, 4, 4, 1), 7.0, np.float32))
    np.testing.assert_allclose(equal, 0.0, atol=1e-2)  # rounding, over the root of EPSILON
