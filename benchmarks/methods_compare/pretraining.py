"""Pretraining of a cell of the comparison of methods: a method's small recipe, so many steps.

  python -m maskmim.train --config benchmarks/methods_compare/pretraining.py:method=dbot

After the colon: method=NAME of benchmarks/methods_compare/methods.py; steps=N; untrained (one step
that changes nothing).
"""

from ml_collections import ConfigDict

from benchmarks.methods_compare.methods import METHODS
from maskmim.config import parse_argument, recipes
from maskmim.config.load import load

IMAGES = 2936  # of the embedded photographs, for training


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, method="mae", steps=1000, untrained=False)
    method = recipes.pick_option("method", choice["method"], METHODS)
    config = load(method.config, method.overrides)
    if method.change:
        method.change(config)
    epochs = choice["steps"] * config.train.batch_size / IMAGES
    config.train.epochs = epochs
    config.schedule.warmup_epochs = epochs / 10
    if choice["untrained"]:
        config.train.epochs, config.schedule.warmup_epochs, config.optim.lr = 0.01, 0.0, 1e-12
    config.checkpoint.every_epochs = config.train.epochs / 4
    config.log.pictures_every_epochs = config.train.epochs / 2
    config.evals.baselines = False
    return config
