"""Latent MIM keeps latents of a picture apart; a shared target under a squared error does not."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.data.grocery import grocery
from maskmim.evals.effective_rank import rank_of
from maskmim.models.latent_mim import PROJECTED
from maskmim.training.build import assemble, init_sharded, jitted_step

pytestmark = [pytest.mark.full, pytest.mark.slow]

STEPS, BATCH = 100, 16


def photographs(config, count: int):
    """Pictures of the embedded validation split, decoded."""
    rng, source, decode = np.random.default_rng(0), grocery(split="val"), bind(config.data.decode)
    return [decode(rng, source[number].encoded, channels=3) for number in range(count)]


def trained(argument: str):
    """Mean cosine of the predictions of a picture over the last steps, and the latents' rank."""
    config = load(f"latent_mim:tiny{argument}")
    config.train.epochs = STEPS * BATCH / 296
    config.optim.update(lr=2e-3, lr_per=0)
    parts = assemble(config, 296)
    state, frozen = init_sharded(parts, 0)
    step, crop = jitted_step(config, parts), bind(config.data.augment)
    rng, pictures, cosines = np.random.default_rng(0), photographs(config, 64), []
    for _ in range(STEPS):
        shown = [crop(rng, pictures[n], size=(32, 32)) for n in rng.integers(0, 64, BATCH)]
        batch = {"image": np.stack(shown)}
        state, metrics = step(state, frozen, batch)
        cosines.append(float(metrics["cosine_predicted/cosine"]))
    net = parts.method.net
    encoded = jax.jit(lambda params: net.encode(params, net.inputs(batch), None))(state.params)
    latents = np.asarray(encoded.given[PROJECTED][:, 1:]).reshape(-1, net.width)
    return np.mean(cosines[-10:]), rank_of(latents)


@pytest.mark.proves(
    133,
    "trained on photographs, the predictions of a picture differ under the published loss, and are "
    "one vector under a squared error to a shared target",
)
def test_a_shared_target_collapses_and_the_published_loss_does_not():
    apart, rank = trained("")
    alike, lower = trained(",target=shared,loss=l2")
    assert apart < 0.8 and alike > 0.99
    assert rank > 1.5 * lower, (rank, lower)
