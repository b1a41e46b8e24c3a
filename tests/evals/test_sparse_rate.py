"""The measure of CRATE's blocks: against the encoder asked directly, and the formula in numpy."""

from functools import partial

import jax
import numpy as np
import pytest

from maskmim.evals.captured import capturing
from maskmim.evals.features import Unsuitable
from maskmim.evals.sparse_rate import coding_rate, sparse_rate
from maskmim.losses.regression import squared_error
from maskmim.masks.roles import in_place
from maskmim.masks.uniform import random
from maskmim.methods.masked import masked
from maskmim.models.crate import crate_mae, subspace_coordinates
from maskmim.objectives.matching import match
from maskmim.targets.pixels import normalised_patches
from tests.compiling import quick_jit
from tests.evals.small import source_of, trained_on
from tests.tiny import SPEC, pictures, tiny_method
from tests.tolerances import PARITY

pytestmark = pytest.mark.full


def test_the_measure_yields_rates_and_shares_of_every_block():
    method = masked(
        SPEC,
        model=partial(crate_mae, variant="3x16x2", patch=(8, 8)),
        mask=partial(in_place, sampler=partial(random, ratio=0.5)),
        objectives={
            "pixels": partial(match, head="pixels", target=normalised_patches, loss=squared_error)
        },
        teachers={},
    )
    variables = method.variables(jax.random.key(0))
    source = source_of(pictures(8))
    trained = trained_on(method=method, test=source, variables=variables)
    found = {measured.name: measured for measured in sparse_rate(trained, images=6)}
    assert found["sparse_rate"].picture.ndim == 3
    assert found["sparse_rate"].text.startswith("coding rate by block")
    images = np.concatenate([each["image"][each["valid"]] for each in source.batches(6)])
    encode = capturing(method, ("embedded", "layers"))
    encoded = quick_jit(encode)(variables, {"image": images})
    coordinates = subspace_coordinates(variables.params, encoded)
    for block in range(3):
        rate = float(coding_rate(coordinates[block]).mean())
        assert found[f"sparse_rate/rate/{block}"].value == pytest.approx(rate, rel=PARITY)
        share = np.mean(np.asarray(encoded.layers[block]) != 0)
        assert found[f"sparse_rate/nonzero/{block}"].value == pytest.approx(share, rel=PARITY)


@pytest.mark.parametrize("tokens", [3, 9])
def test_the_coding_rate_is_its_formula(tokens):
    rng = np.random.default_rng(0)
    coordinates = rng.normal(size=(2, 4, tokens, 5)).astype(np.float32)
    for example, rate in zip(coordinates, coding_rate(coordinates, 0.1), strict=True):
        total = 0.0
        for z in example.astype(np.float64):
            w = z / np.linalg.norm(z, axis=1, keepdims=True)
            total += np.linalg.slogdet(np.eye(tokens) + 5 / (tokens * 0.1) * w @ w.T)[1] / 2
        assert float(rate) == pytest.approx(total, rel=PARITY)


def test_other_networks_are_unsuitable():
    method = tiny_method()
    variables = method.variables(jax.random.key(0))
    with pytest.raises(Unsuitable, match="subspaces of CRATE's blocks"):
        next(sparse_rate(trained_on(method=method, variables=variables)))
