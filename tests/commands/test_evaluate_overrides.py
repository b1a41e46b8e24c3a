"""Which keys `evaluate` may change of a run."""

import pytest

from maskmim.config import ConfigError
from maskmim.evaluate import check_overrides
from maskmim.models.layers.compute import compute
from maskmim.models.layers.errors import ModelError


def test_keys_of_the_evaluation_may_change():
    check_overrides(["evals.batch_size=8", "mesh.data=1"])


@pytest.mark.parametrize("text", ["mask.ratio=0.5", "seed=1", "evalss.batch_size=8"])
def test_keys_that_the_run_was_trained_with_may_not(text):
    with pytest.raises(ConfigError, match="evals and mesh only"):
        check_overrides([text])


def test_an_unknown_dtype_is_named_with_the_known_ones():
    with pytest.raises(ModelError, match="'float8': use float32 or bfloat16"):
        compute(dtype="float8")
