"""SMA on a table whose columns form groups: what is hidden together after a training."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.losses import squared_error
from maskmim.masks import self_attention
from maskmim.methods.masked import masked
from maskmim.models.perceiver import perceiver
from maskmim.objectives import match
from maskmim.targets import pixels
from maskmim.teachers.current import current
from maskmim.teachers.query_attention import query_attention
from maskmim.types import Context, Randomness, Spec, Variables, random_key

COLUMNS, GROUPS, NOISE, STEPS, EXAMPLES = 24, 4, 0.3, 500, 128
SPEC = Spec((COLUMNS,), 1, (0.0,), (1.0,), "row", "float32")
GROUP = np.random.RandomState(0).permutation(np.arange(COLUMNS) % GROUPS)
SAMPLER = partial(self_attention.attended, ratio=0.25, until=0.5)
METHOD = masked(
    SPEC,
    model=partial(
        perceiver,
        **{"latents": 8, "width": 32, "depth": 1, "heads": 2, "embedding": 16, "decoder_width": 16},
    ),
    mask=SAMPLER,
    objectives={"hidden": partial(match, head="values", target=pixels.patches, loss=squared_error)},
    teachers={"itself": partial(current, find=query_attention)},
)


def rows(*counts: int, seed: int) -> np.ndarray:
    """Rows of normal numbers of which each group shares one, under noise: f32[*counts, d, 1]."""
    rng = np.random.RandomState(seed)
    shared = rng.standard_normal((*counts, GROUPS))[..., GROUP]
    return (shared + NOISE * rng.standard_normal(shared.shape)).astype("f4")[..., None]


def information() -> np.ndarray:
    """The mutual information of two columns in nats, f64[d, d], 0 of a column with itself."""
    same = GROUP[:, None] == GROUP[None]
    correlation = np.where(same & ~np.eye(COLUMNS, dtype=bool), 1 / (1 + NOISE**2), 0.0)
    return -0.5 * np.log(1 - correlation**2)


def shared_by_hidden(params, progress: float) -> float:
    """Mean information of two hidden columns of a row."""
    batch = {"row": rows(512, seed=1)}
    hints = query_attention(METHOD.net, params, Context(batch, METHOD.net.grids, {}))
    context = Context(batch, METHOD.net.grids, hints, progress)
    hidden = np.asarray(SAMPLER(Randomness.of(random_key(5), 512), context).hidden, float)
    count = hidden[0].sum()
    return np.einsum("bi,ij,bj->b", hidden, information(), hidden).mean() / (count * (count - 1))


@jax.jit
def trained(params, batches):
    """The params after a training of Adam on rows f32[STEPS, B, d, 1]."""
    optimiser = optax.adam(3e-3)

    def step(carry, inputs):
        params, state = carry
        row, number = inputs
        randomness = Randomness.of(jax.random.fold_in(random_key(0), number), EXAMPLES)

        def loss(params):
            variables = Variables(params, {"itself": ()}, {"itself": ()})
            losses = METHOD.loss(variables, {"row": row}, randomness, number / STEPS)
            return losses.terms["hidden"].value

        updates, state = optimiser.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    start = params, optimiser.init(params)
    return jax.lax.scan(step, start, (batches, jnp.arange(len(batches))))[0][0]


@pytest.mark.slow
@pytest.mark.proves(17, "after a training hidden columns share more information than random ones")
def test_what_is_hidden_together_depends_on_each_other():
    params = METHOD.net.init(random_key(0))
    untrained = shared_by_hidden(params, 1.0)
    params = trained(params, rows(STEPS, EXAMPLES, seed=0))
    attended, random = (shared_by_hidden(params, progress) for progress in (1.0, 0.0))
    every_pair = information().sum() / (COLUMNS * (COLUMNS - 1))
    assert random == pytest.approx(every_pair, rel=0.1)
    assert attended > 2 * random and attended > 2 * untrained
