"""Parts of recipes that the tokenizer of pictures and the models of its codes share."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from maskmim.config.recipes import imagenet_data, tiny_images, tiny_run
from maskmim.imagenet import TRAIN_IMAGES

BATCH_SIZE = 256  # of the published recipes
STEPS_PER_EPOCH = TRAIN_IMAGES / BATCH_SIZE
# Keywords of models.vq_autoencoder for smaller pictures.
SMALL_AUTOENCODER: dict[str, Any] = {
    "width": 8,
    "levels": (1, 2, 4, 8),
    "blocks": 1,
    "groups": 4,
    "codes": 256,
    "codes_width": 64,
}
TINY_AUTOENCODER: dict[str, Any] = SMALL_AUTOENCODER | {
    "levels": (1, 2, 2),
    "codes": 32,
    "codes_width": 16,
}


def published_pictures(config: ConfigDict, epochs: float, shards: str = "") -> None:
    """Set `input`, `data` and `train`: ImageNet-1k at 256 pixels, in [0, 1].

    shards: as of `recipes.imagenet_data`.
    """
    config.input.size = (256, 256)
    pixel_range(config, mean=0.0, std=1.0)
    imagenet_data(config, shards)
    config.train.epochs = epochs
    config.train.batch_size = BATCH_SIZE


def small_pictures(config: ConfigDict) -> None:
    """Set `input` and `train`: the embedded photographs at 64 pixels, 20 epochs.

    Pixels are normalised, as their errors must weigh more in so short a training.
    """
    config.input.size = (64, 64)
    pixel_range(config, mean=0.5, std=0.25)
    config.train.epochs = 20.0
    config.train.batch_size = 16


def tiny_pictures(config: ConfigDict) -> None:
    """Set `input`, `data`, `train` and `evals.at_end`: a few steps on the embedded photographs."""
    tiny_images(config)
    pixel_range(config, mean=0.0, std=1.0)
    tiny_run(config, at_end=())


def pixel_range(config: ConfigDict, *, mean: float, std: float) -> None:
    """Set the statistics of `input`, the same for all channels."""
    config.input.mean = (mean,) * 3
    config.input.std = (std,) * 3
