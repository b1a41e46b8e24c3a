"""Imputation: the measure against numpy, what a column's mean is worth, and completed tables."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.data import tables
from maskmim.evals.features import Unsuitable
from maskmim.evals.imputation import imputation
from maskmim.evals.trained import Source
from maskmim.training.build import build_method
from tests.evals.small import trained_on
from tests.tiny import tiny_method

full = pytest.mark.full


def trained(records, *, batch: int = 8):
    """The untrained tiny method, with a table as test images."""
    spec, method = build_method(load("remasker:tiny"))
    transforms = tables.filled, tables.filled
    source = Source("evals.test", lambda: records, spec, tables.row, *transforms, batch, {})
    variables = jax.jit(method.variables)(jax.random.key(0))
    return trained_on(method=method, variables=variables, spec=spec, test=source)


@full
@pytest.mark.proves(47, "the error is over truly missing cells alone, in units of a column's range")
def test_the_measure_is_its_formula():
    records = tables.factors(count=19, columns=6, remove=0.3, seed=2)
    held = trained(records)
    found = {measured.name: measured.value for measured in imputation(held)}
    shown = np.stack([each.encoded[:, 0] for each in records]).astype(np.float64)
    gone = np.isnan(shown)
    means = np.broadcast_to(np.nanmean(shown, axis=0), shown.shape)
    expected = np.sqrt(np.mean((means - records.truth)[gone] ** 2))
    assert found["imputation/rmse_of_means"] == pytest.approx(expected, rel=1e-6)
    batch = {"table": np.nan_to_num(shown)[..., None].astype(np.float32), "missing": gone}
    predicted = np.asarray(jax.jit(held.method.net.calls["impute"])(held.variables.params, batch))
    expected = np.sqrt(np.mean((predicted - records.truth)[gone].astype(np.float64) ** 2))
    assert found["imputation/rmse"] == pytest.approx(expected, rel=1e-5)
    # Cells that nobody knows do not count.
    records.truth[0] = np.nan
    (rmse, _) = imputation(held)
    left = gone & (np.arange(19) > 0)[:, None]
    expected = np.sqrt(np.mean((predicted - records.truth)[left].astype(np.float64) ** 2))
    assert rmse.value == pytest.approx(expected, rel=1e-5)


def test_what_cannot_be_measured_is_said():
    complete = tables.factors(count=8, columns=6, remove=0.0)
    with pytest.raises(Unsuitable, match="nobody knows"):
        next(imputation(trained(complete)))
    with pytest.raises(Unsuitable, match="imputes no cells"):
        next(imputation(trained_on(method=tiny_method())))
