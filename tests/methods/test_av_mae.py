"""AV-MAE as config: the published numbers."""

import jax
import numpy as np
import pytest

from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.training.build import build_method
from maskmim.types import Context, Randomness


@pytest.mark.full
@pytest.mark.proves(87, "90 % of the cubes and 70 % (50 %) of the patches are hidden, exactly")
@pytest.mark.parametrize(
    ("recipe", "shown", "joint"), [("audioset", (157, 149), 2), ("vggsound", (157, 200), 0)]
)
def test_the_published_recipe(recipe, shown, joint):
    config = load(f"av_mae:recipe={recipe}")
    _, method = build_method(config)
    grids = method.net.grids
    assert grids == {"video": (8, 14, 14), "audio": ((62, 8) if joint else (50, 8))}
    mask = bind(config.mask)(Randomness.of(jax.random.key(0), 8), Context({}, grids, {}))
    parts = np.split(np.asarray(~mask.hidden), [1568], axis=1)
    assert [set(part.sum(axis=1)) for part in parts] == [{count} for count in shown]
    assert config.model.joint == joint and not config.model.shared
    rates = (3e-4, 120) if joint else (1.5e-4, 400)
    assert (config.optim.lr, config.train.epochs) == rates
    assert (config.optim.lr_per, config.optim.b2, config.train.batch_size) == (256, 0.95, 512)
    assert load("av_mae:fusion=early").model.joint == 24
    assert load("av_mae:fusion=shared,decoder=joint").model.shared
    with pytest.raises(ConfigError, match="early, mid, shared or separate"):
        load("av_mae:fusion=late")
