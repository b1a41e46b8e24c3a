"""Drawing what a method shows of itself."""

from types import SimpleNamespace

import jax.numpy as jnp

from maskmim.evals.method_pictures import jit_in_order
from maskmim.training.sharding import make_mesh


def test_columns_keep_the_order_that_they_were_given_in():
    def draw(factor):
        return {"true": factor * jnp.ones(2), "a guess": factor * jnp.zeros(2)}

    mesh = make_mesh({"data": -1, "fsdp": 1, "tensor": 1})
    run = jit_in_order(SimpleNamespace(mesh=mesh), draw)
    for factor in (1.0, 2.0):
        found = run(factor)
        assert list(found) == ["true", "a guess"] and found["true"][0] == factor
