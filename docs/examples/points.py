"""Masked groups of points, on synthetic shapes: the config of `point_groups.py`.

PYTHONPATH=docs/examples python -m maskmim.train --config docs/examples/points.py --workdir DIR
"""

import point_groups
from ml_collections import ConfigDict

from maskmim import modalities
from maskmim.config import base, brick
from maskmim.masks import uniform
from maskmim.objectives import match


def get_config() -> ConfigDict:
    """Return the config of a few minutes on a CPU."""
    config = base()
    config.input.update(stream="points", size=(256,), channels=3, dtype="float32")
    config.input.update(mean=(0.0,) * 3, std=(1.0,) * 3, kind=brick(modalities.unseen))
    config.model = brick(point_groups.point_net)
    config.mask = brick(uniform.random, ratio=0.6)
    loss, target = brick(point_groups.chamfer), brick(point_groups.members)
    config.objectives = {"points": brick(match, head="points", target=target, loss=loss)}
    config.data.train = config.evals.train = brick(point_groups.shapes, count=256)
    config.evals.test = brick(point_groups.shapes, count=96, seed=1)
    config.data.decode, config.evals.decode = brick(point_groups.stored), None
    config.data.augment = brick(point_groups.sampled)
    config.evals.transform = brick(point_groups.sampled)
    config.train.update(epochs=10.0, batch_size=32)
    config.optim.update(lr=1e-3, lr_per=0)
    config.schedule.warmup_epochs = 1.0
    config.evals.at_end = ("knn", "linear_probe")
    return config
