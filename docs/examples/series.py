"""Masked stretches of synthetic time series: the config of `series_bricks.py`.

PYTHONPATH=docs/examples python -m maskmim.train --config docs/examples/series.py --workdir DIR
"""

import series_bricks
from ml_collections import ConfigDict

from maskmim.config import base, brick
from maskmim.data.passages import first_window, random_window
from maskmim.targets.pixels import patches


def get_config() -> ConfigDict:
    """Return the config of a minute on two CPU cores."""
    config = base()
    config.input.update(stream="series", size=(128,), channels=1, dtype="float32")
    config.input.update(mean=(0.0,), std=(1.0,), kind=brick(series_bricks.plot))
    config.model = brick(series_bricks.series_net)
    config.mask.ratio, config.objectives.pixels.target = 0.5, brick(patches)
    config.data.train = config.evals.train = brick(series_bricks.Waves)
    config.evals.test = brick(series_bricks.Waves, count=240, seed=1)
    config.data.decode, config.evals.decode = brick(series_bricks.stored), None
    config.data.augment, config.evals.transform = brick(random_window), brick(first_window)
    config.train.update(epochs=40.0, batch_size=64)
    config.optim.update(lr=2e-3, lr_per=0)
    config.schedule.warmup_epochs = 2.0
    return config
