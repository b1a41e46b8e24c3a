"""The forms of attention against numpy and each other."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.models.layers import attention

SHAPE = (6, 2, 5, 4)


def tensors(scale=1.0, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(4, *SHAPE))
    arrays[:2] *= scale
    return [jnp.asarray(x, dtype) for x in arrays]


def by_numpy(query, key, value):
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    scores = query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True), value


FORMS = {
    "plain": attention.plain_attention,
    "cpu": attention.cpu_attention,
    "chunked": lambda q, k, v: attention.chunked_attention(q / math.sqrt(q.shape[-1]), k, v, 2),
}


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("form", FORMS)
def test_output_equals_numpy_also_for_large_scores(form, scale):
    query, key, value, _ = tensors(scale)
    weights, values = by_numpy(query, key, value)
    np.testing.assert_allclose(FORMS[form](query, key, value), weights @ values, atol=1e-5)
    np.testing.assert_allclose(
        attention.first_token_attention(query, key), weights[:, :, 0], atol=1e-5
    )


@pytest.mark.parametrize("form", ["cpu", "chunked"])
def test_forms_for_the_cpu_have_the_same_gradients(form):
    query, key, value, direction = tensors()

    def gradients(attend):
        return jax.grad(lambda *x: jnp.sum(attend(*x) * direction), (0, 1, 2))(query, key, value)

    for computed, expected in zip(
        gradients(FORMS[form]), gradients(attention.plain_attention), strict=True
    ):
        np.testing.assert_allclose(computed, expected, atol=1e-6)


def test_large_scores_are_computed_in_chunks(monkeypatch):
    query, key, value, _ = tensors()
    expected = attention.cpu_attention(query, key, value)
    assert "scan" not in str(jax.make_jaxpr(attention.cpu_attention)(query, key, value))
    monkeypatch.setattr(attention, "CACHE_BYTES", 100)
    monkeypatch.setattr(attention, "CHUNK_BYTES", 4 * 2 * 2 * 5 * 5)
    traced = jax.make_jaxpr(lambda *x: attention.cpu_attention(*x))(query, key, value)
    assert "length=3" in str(traced)
    output = jax.jit(lambda *x: attention.cpu_attention(*x))(query, key, value)
    np.testing.assert_allclose(output, expected, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_stays_near_and_keeps_its_dtype(form):
    query, key, value, direction = tensors(dtype=jnp.bfloat16)
    output = FORMS[form](query, key, value)
    assert output.dtype == jnp.bfloat16
    weights, values = by_numpy(query, key, value)
    np.testing.assert_allclose(output.astype(jnp.float32), weights @ values, atol=0.05)
    grads = jax.grad(lambda q: jnp.sum(FORMS[form](q, key, value) * direction))(query)
    assert grads.dtype == jnp.bfloat16


def test_chunks_divide_the_batch():
    assert [attention._largest_divisor(12, most) for most in (0, 1, 5, 6, 11, 100)] == [
        1,
        1,
        4,
        6,
        6,
        12,
    ]
