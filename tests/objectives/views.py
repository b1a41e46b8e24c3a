"""Views with given features, for objectives of pairs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from maskmim.models.calls import with_calls
from maskmim.types import Context, Encoded, LearnedFunction, Mask, Net, Randomness, View

WIDTH = 6


def features(count: int, examples: int, *, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    """Random features f32[count, examples, width], of lengths that differ."""
    rng = np.random.default_rng(seed)
    lengths = rng.uniform(0.5, 4, (count, examples, 1))
    return (lengths * rng.standard_normal((count, examples, width))).astype(np.float32)


def net_of(**calls) -> Net:
    """A network of WIDTH without encoder; calls: {name: f32[WIDTH, values]}, linear maps."""
    blank = Net({"image": (2, 3)}, WIDTH, lambda key: {}, *[None] * 6)

    def brick(kernel):
        return lambda width: LearnedFunction(lambda key: kernel, lambda kernel, x: x @ kernel)

    return with_calls(blank, {name: brick(kernel) for name, kernel in calls.items()})


def views_of(arrays, *, net=None, hints=None, slots=None, outputs=None, masks=None) -> tuple:
    """A View for each array f32[B, D], which is its one visible token."""
    net = net or net_of()
    params = net.init(jax.random.key(0))
    views = []
    for number, array in enumerate(arrays):
        examples = len(array)
        token = jnp.zeros((examples, 1), jnp.int32)
        mask = Mask(token, token, token.astype(bool), jnp.ones((examples, 1)))
        own = {} if hints is None else {"projection": jnp.asarray(hints[number])}
        randomness = Randomness.of(jax.random.key(0), examples)
        if slots is not None:
            randomness = randomness._replace(slots=jnp.asarray(slots, jnp.uint32))
        encoded = Encoded(jnp.zeros((examples, 1, array.shape[-1])), jnp.asarray(array)[:, None])
        view = View(
            net=net,
            context=Context({}, net.grids, own),
            inputs=(),
            mask=mask if masks is None else masks[number],
            encoded=encoded,
            outputs={} if outputs is None else outputs[number],
            extra={},
            params=params,
            randomness=randomness,
        )
        views.append(view)
    return tuple(views)
