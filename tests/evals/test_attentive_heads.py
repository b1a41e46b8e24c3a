"""Attentive classifiers against torch's attention, layer by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from maskmim.evals.attentive_heads import (
    cross_attention_head,
    efficient_head,
    pool_by_block,
    pool_by_queries,
)
from maskmim.evals.features import Unsuitable
from tests.compiling import quick_jit
from tests.tolerances import PARITY

WIDTH, TOKENS, CLASSES = 32, 7, 5


def random_like(params, seed=0):
    """Params of the same shapes, large enough for attention to be uneven."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: (0.5 * rng.normal(size=a.shape)).astype("f4"), params)


def tokens(count=4, seed=1):
    return np.random.default_rng(seed).normal(1.0, 2.0, (count, TOKENS, WIDTH)).astype("f4")


def as_torch(params):
    return {name: torch.from_numpy(np.asarray(value)) for name, value in params.items()}


def their_block(params, x):
    """The pre-norm block with one query by torch's multi-head attention, keys with a bias."""
    p = as_torch({name: value for name, value in params.items() if name != "linear"})
    x = F.layer_norm(torch.from_numpy(x), (WIDTH,), p["norm1_scale"], p["norm1_bias"]).transpose(
        0, 1
    )
    heads = p["to_key"].shape[1]
    to_key, to_value = (p[name].reshape(WIDTH, WIDTH) for name in ("to_key", "to_value"))
    query = p["query"][None].expand(1, x.shape[1], WIDTH)
    key_bias = torch.full((WIDTH,), 0.7)
    mixed, _ = F.multi_head_attention_forward(
        query, x, x, WIDTH, heads, None,
        torch.cat([p["query_bias"], key_bias, p["value_bias"]]), None, None, False, 0.0,
        p["out"].T, p["out_bias"], use_separate_proj_weight=True,
        q_proj_weight=p["to_query"].T, k_proj_weight=to_key.T, v_proj_weight=to_value.T,
    )  # fmt: skip
    pooled = (query + mixed)[0]
    normed = F.layer_norm(pooled, (WIDTH,), p["norm2_scale"], p["norm2_bias"])
    hidden = F.gelu(normed @ p["up"] + p["up_bias"])
    return (pooled + hidden @ p["down"] + p["down_bias"]).numpy()


def close(found, expected):
    np.testing.assert_allclose(found, expected, atol=PARITY * np.abs(expected).max())


@pytest.mark.parametrize(("head_width", "heads"), [(8, 4), (64, 1)])
def test_the_block_is_that_of_torch(head_width, heads):
    params, stats = cross_attention_head(head_width).init(jax.random.key(0), WIDTH, CLASSES)
    assert stats == () and params["to_key"].shape == (WIDTH, heads, WIDTH // heads)
    params = random_like(params)
    close(pool_by_block(params, tokens()), their_block(params, tokens()))


def test_branches_begin_small():
    params, _ = cross_attention_head(8).init(jax.random.key(0), 256, CLASSES)
    for name, deviation in (("to_key", 0.02), ("up", 0.02), ("out", 0.0141), ("down", 0.0141)):
        assert float(params[name].std()) == pytest.approx(deviation, rel=0.03)
    assert not params["up_bias"].any() and (params["norm1_scale"] == 1).all()


def test_queries_without_keys_are_those_of_torch():
    params = random_like(efficient_head(4).init(jax.random.key(0), WIDTH, CLASSES)[0])
    p, x = as_torch({k: v for k, v in params.items() if k != "linear"}), torch.from_numpy(tokens())
    attention = torch.softmax(x @ p["queries"].T / WIDTH**0.5, dim=1)
    values = (x @ p["to_value"]).reshape(len(x), TOKENS, 4, WIDTH // 4)
    expected = torch.einsum("bkq,bkqs->bqs", attention, values).reshape(len(x), WIDTH)
    close(pool_by_queries(params, tokens()), expected.numpy())


def test_the_norm_is_that_of_torch():
    head = efficient_head(4)
    params, stats = head.init(jax.random.key(0), WIDTH, CLASSES)
    params = random_like(params)
    logits, stats = head.train(params, stats, tokens(6))
    pooled = torch.from_numpy(np.array(pool_by_queries(params, tokens(6))))
    norm = torch.nn.BatchNorm1d(WIDTH, affine=False, eps=1e-6)
    normed = norm(pooled).numpy()
    layer = params["linear"]
    close(logits, normed @ layer["kernel"] + layer["bias"])
    again = head.test(params, stats, tokens(6, seed=2))
    other = torch.from_numpy(np.array(pool_by_queries(params, tokens(6, seed=2))))
    close(again, norm.eval()(other).numpy() @ layer["kernel"] + layer["bias"])


def test_gradients_reach_every_parameter():
    for head in (cross_attention_head(8), efficient_head(4)):
        params, stats = head.init(jax.random.key(0), WIDTH, CLASSES)
        params = random_like(params)

        @quick_jit
        @jax.grad
        def gradient(params, head=head, stats=stats):
            return jnp.sum(head.train(params, stats, tokens())[0] ** 2)

        gradients = jax.tree.leaves(gradient(params))
        assert all(float(jnp.abs(each).max()) > 0 for each in gradients)


def test_sizes_that_do_not_divide_are_named():
    with pytest.raises(Unsuitable, match="set queries=8"):
        efficient_head(7).init(jax.random.key(0), WIDTH, CLASSES)
    with pytest.raises(Unsuitable, match="do not divide the width 32"):
        cross_attention_head(10).init(jax.random.key(0), WIDTH, CLASSES)
