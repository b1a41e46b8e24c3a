"""Structured-noise masks as configs of two hosts: counts, and what differs from the host."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.training.build import build_method
from maskmim.types import Context, Randomness

pytestmark = pytest.mark.full


def drawn(config, grid, count=6):
    """Masks of a config on a grid."""

    @jax.jit
    def run(key):
        return bind(config.mask)(Randomness.of(key, count), Context({}, {"x": grid}, {}))

    return run(jax.random.key(0))


@pytest.mark.proves(115, "each example has exactly as many visible tokens as under random masks")
@pytest.mark.parametrize(
    ("argument", "grid", "hidden"),
    [("", (8, 14, 14), 1411), ("audio", (64, 8), 410), ("mask=tube", (8, 14, 14), 1408)],
)
def test_counts_are_those_of_random_masks(argument, grid, hidden):
    structured = drawn(load(f"structured_noise:{argument}"), grid)
    np.testing.assert_array_equal(np.asarray(structured.hidden).sum(1), hidden)
    if "mask" in argument:
        return
    given = ",".join(filter(None, [argument, "mask=random"]))
    random = drawn(load(f"structured_noise:{given}"), grid)
    assert random.visible.shape == structured.visible.shape
    assert np.any(np.asarray(random.hidden) != np.asarray(structured.hidden))


@pytest.mark.proves(115, "beside the masks, nothing differs from the host")
@pytest.mark.parametrize(
    ("ours", "host"),
    [("structured_noise", "videomae:epochs=800"), ("structured_noise:audio", "audio_mae")],
)
def test_all_else_is_the_host_s(ours, host):
    one, other = load(ours), load(host)
    assert one.mask.brick != other.mask.brick and one.mask.ratio == other.mask.ratio
    for config in (one, other):
        with config.unlocked():
            del config["mask"]
        if "warmup_epochs" in config.schedule:
            config.schedule.warmup_epochs = 0.0
    assert one.to_dict() == other.to_dict()


def test_masks_of_other_streams_are_refused():
    assert build_method(load("structured_noise:audio,tiny"))[1].net.grids == {"audio": (8, 4)}
    with pytest.raises(ConfigError, match="mask=tube: use structured or random"):
        load("structured_noise:audio,mask=tube")
