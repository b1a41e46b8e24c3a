"""MaskGIT's transformer: equals the official one; each example has its own dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.models.token_transformer import (
    DropoutError,
    attend_with_dropout,
    bert,
    dropout_factors,
)
from maskmim.models.vit import ModelError
from maskmim.types import Randomness
from tests.compiling import quick_jit
from tests.golden.maskgit import case
from tests.running import ROOT
from tests.tolerances import PARITY

GOLDEN = np.load(ROOT / "tests/golden/maskgit/values.npz")
LABELS = jnp.arange(case.EXAMPLES) % case.CLASSES


def logits_of(model, params, ids, labels=LABELS, randomness=None):
    return model.logits(params, model.encode(params, jnp.asarray(ids), labels, randomness))


@pytest.mark.proves(101, "the transformer's logits are those of the official one")
def test_parity_with_the_official_transformer():
    model = case.transformer()
    params = case.params_of(model.init, 0.2)
    logits = logits_of(model, params, case.sequences(model.mask_id))
    scale = np.abs(GOLDEN["logits"]).max()
    np.testing.assert_allclose(logits, GOLDEN["logits"], atol=PARITY * scale)


def test_classes_and_their_absence():
    model = case.transformer()
    params = case.params_of(model.init, 0.2)
    ids = case.sequences(model.mask_id)
    logits = quick_jit(lambda labels: logits_of(model, params, ids, labels))
    with_class, other = logits(LABELS), logits(LABELS.at[0].set(2))
    without = logits(jnp.full_like(LABELS, -1))
    assert np.abs(with_class - other)[0].max() > 1e-2
    np.testing.assert_array_equal(with_class[1:], other[1:])
    assert np.abs(with_class - without).max() > 1e-2
    too_large = logits(LABELS.at[0].set(case.CLASSES))
    assert np.isnan(too_large[0]).all() and np.isfinite(too_large[1:]).all()


def test_dropout_is_random_and_separate_for_each_example():
    model = case.transformer(dropout=0.3)
    params = case.params_of(model.init, 0.2)
    ids = case.sequences(model.mask_id)
    ids[1] = ids[0]

    @jax.jit
    def logits(key, slots):
        randomness = Randomness(key, slots)
        return logits_of(model, params, ids, jnp.zeros_like(LABELS), randomness)

    slots = jnp.arange(case.EXAMPLES, dtype=jnp.uint32)
    first = logits(jax.random.key(0), slots)
    assert np.abs(first[0] - first[1]).max() > 1e-2
    assert np.abs(first - logits(jax.random.key(1), slots)).max() > 1e-2
    again = logits(jax.random.key(0), slots.at[0].set(7))
    np.testing.assert_array_equal(again[1:], first[1:])
    assert np.abs(again[0] - first[0]).max() > 1e-2


def test_dropout_keeps_the_mean_and_the_rate():
    keys = jax.random.split(jax.random.key(0), 4)
    factors = np.asarray(dropout_factors(keys, 0, (50, 50), 0.1))
    np.testing.assert_allclose(np.unique(factors), [0.0, 1 / 0.9], rtol=1e-6)
    assert abs(np.mean(factors == 0) - 0.1) < 0.02
    assert (
        dropout_factors(None, 0, (2,), 0.1) is None and dropout_factors(keys, 0, (2,), 0.0) is None
    )
    query = jax.random.normal(keys[0], (2, 3, 5, 4))
    whole = attend_with_dropout(query, query, query, factors=jnp.ones((2, 5, 5)))
    one = attend_with_dropout(
        query, query, query, factors=jnp.zeros((2, 5, 5)).at[:, :, 1].set(1.0)
    )
    assert np.abs(whole).max() > 0
    aligned = one / query[:, :, 1:2]
    np.testing.assert_allclose(aligned, np.broadcast_to(aligned[..., :1], one.shape), rtol=1e-3)


def test_impossible_settings_are_refused():
    with pytest.raises(ModelError, match="heads"):
        bert(8, 0, 4, variant="2x10x4")
    with pytest.raises(DropoutError, match="dropout 1"):
        bert(8, 0, 4, dropout=1.0)
