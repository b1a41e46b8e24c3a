"""HPM's masks: equality with the official code for given losses and noise, the forced share.

tests/golden/masks/informed_official.npz holds losses, noise and the official masks of six epochs;
informed_record.py beside it says how it was made.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.masks import difficulty
from maskmim.types import Context, Randomness
from tests.running import ROOT

GOLDEN = np.load(ROOT / "tests/golden/masks/informed_official.npz")
LOSSES = GOLDEN["losses"]
EPOCHS = 200


@jax.jit
def draw(losses, progress):
    context = Context({}, {"tokens": (14, 14)}, {"token_loss": losses}, progress)
    return difficulty.hardest(
        Randomness.of(jax.random.key(4), losses.shape[0]), context, ratio=0.75
    )


def hidden(losses: np.ndarray, progress: float) -> np.ndarray:
    return np.asarray(draw(jnp.asarray(losses), jnp.float32(progress)).hidden)


@pytest.mark.proves(36, "masks for given losses and noise equal the official ones in every epoch")
def test_masks_equal_the_official_ones(monkeypatch):
    monkeypatch.setattr(difficulty, "random_scores", lambda *_: jnp.asarray(GOLDEN["noise"]))
    with_given_noise = jax.jit(draw.__wrapped__)
    for epoch in (0, 1, 3, 66, 133, EPOCHS - 1):
        mask = with_given_noise(jnp.asarray(LOSSES), jnp.float32((epoch + 1) / EPOCHS))
        np.testing.assert_array_equal(mask.hidden, GOLDEN[f"hpm_{epoch}"])


@pytest.mark.proves(46, "int(M * alpha) tokens are forced, alpha = 0.5 * (epoch + 1) / epochs")
@pytest.mark.parametrize("epochs", [200, 800, 1600])
def test_the_number_of_forced_tokens_is_the_official_one_in_every_epoch(epochs):
    progress = (np.arange(epochs) + 1) / epochs
    counts = difficulty.forced_count(jnp.asarray(progress, jnp.float32), 147)
    official = [int(147 * (float((epoch + 1) / epochs) * 0.5)) for epoch in range(epochs)]
    np.testing.assert_array_equal(counts, official)


@pytest.mark.proves(36, "the share of forced tokens goes from 0 to 0.5")
def test_the_hardest_tokens_are_hidden_from_none_to_half():
    losses = np.random.default_rng(0).standard_normal((400, 196)).astype(np.float32)
    hardest = np.argsort(-losses, axis=1)[:, :73]
    share = []
    for progress in (0.0, 0.25, 0.5, 0.75, 1.0):
        mask = hidden(losses, progress)
        forced = int(147 * 0.5 * progress)
        assert np.take_along_axis(mask, hardest[:, :forced], axis=1).all()
        share.append(np.take_along_axis(mask, hardest, axis=1).mean())
    assert share[0] == pytest.approx(0.75, abs=0.02) and share[-1] == 1
    assert (np.diff(share) > 0.03).all(), share
    assert draw._cache_size() <= 2


def test_the_rest_is_uniform_among_the_others():
    mask = hidden(np.tile(np.arange(196.0, dtype=np.float32), (4000, 1)), 1.0)
    assert mask[:, -73:].all()
    np.testing.assert_allclose(mask[:, :-73].mean(0), 74 / 123, atol=5 * (0.24 / 4000) ** 0.5)
    halves = mask[:, :30].sum(1), mask[:, 30:60].sum(1)
    assert np.corrcoef(*halves)[0, 1] == pytest.approx(-30 / 93, abs=0.08)


@pytest.mark.parametrize(
    ("start", "end", "progress", "count"), [(0.2, 0.8, 0.5, 50), (1, 1, 0, 100)]
)
def test_start_and_end_of_the_share(start, end, progress, count):
    assert int(difficulty.forced_count(progress, 100, start=start, end=end)) == count


def test_equally_hard_tokens_are_forced_in_order_of_their_index():
    scores = difficulty.forced_last(jnp.full((1, 4), 0.5), jnp.zeros((1, 4)), jnp.int32(2))
    np.testing.assert_array_equal(scores, [[-0.5, -0.5, 0.5, 0.5]])
