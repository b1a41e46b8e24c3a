"""Bricks, a config and a config file that the tests of configs share."""

import math

import pytest
from ml_collections import ConfigDict

from maskmim import errors
from maskmim.config.bricks import brick
from maskmim.config.parse import ConfigError

HERE = __name__
HEADER = f"""
from ml_collections import ConfigDict
from maskmim.config import brick
from maskmim.config import add, parse_argument
from {HERE} import base

def get_config(arg=""):
    choice = parse_argument(arg, variant="B/16", epochs=300.0, tiny=False)
    config = base()
    config.train.epochs = choice["epochs"]
"""
FIRST_LINE = HEADER.count("\n") + 1


def sampler(x, *, ratio: float, block: int | None = None):
    """A sampler."""


def noise(
    x, *, ratio: float = 0.5, sigmas: tuple[float, ...] = (1.0, 2.0), path: str | None = None
):
    """A sampler that shares one hyperparameter with the other."""


def folder(*, path: str, ratio: float = 0.1):
    """A brick that needs something."""


def adam(schedule, batch_size, *, lr: float = 1.5e-4, clip: float = math.inf, lr_per: int = 256):
    """An optimiser."""


def base() -> ConfigDict:
    """A small config of the usual shape."""
    config = ConfigDict({"seed": 0, "teachers": {}})
    config.input = ConfigDict({"size": (224, 224), "mean": (0.5, 0.5)})
    config.mask = brick(f"{HERE}.sampler", ratio=0.75)
    config.optim = brick(f"{HERE}.adam")
    config.train = ConfigDict(
        {"epochs": 300.0, "batch_size": 4096, "fast": False, "name": "run", "limit": None}
    )
    config.evals = ConfigDict({"at_end": ("knn",)})
    return config.lock()


def message(call, *args, **keywords) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*args, **keywords)
    assert caught.value.exit_code == errors.USAGE
    return str(caught.value)


def buggy():
    raise TypeError("not a container")
