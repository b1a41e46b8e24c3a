"""A tiny MAE on the pictures of tests/faults/odd_data.py, 4 steps an epoch, without evaluation."""

from configs.mae import get_config as mae
from maskmim.config.bricks import brick


def get_config(arg=""):
    config = mae("tiny")
    config.input.dtype = "float32"
    config.data.train = brick("tests.faults.odd_data.numbers")
    config.data.decode = brick("tests.faults.odd_data.as_stored")
    config.data.augment = brick("tests.faults.odd_data.as_it_is")
    config.evals.train = None
    config.evals.test = None
    config.evals.decode = config.data.decode
    config.evals.transform = config.data.augment
    config.evals.at_end = ()
    config.log.every_steps = 1
    config.log.pictures_every_epochs = 0.0
    return config
