"""Drawing what a method shows of itself."""

import jax.numpy as jnp

from maskmim.portraits import in_order


def test_columns_keep_the_order_that_they_were_given_in():
    def draw(factor):
        return {"true": factor * jnp.ones(2), "a guess": factor * jnp.zeros(2)}

    run = in_order(draw)
    for factor in (1.0, 2.0):
        found = run(factor)
        assert list(found) == ["true", "a guess"] and found["true"][0] == factor
