"""What the configs of a picture tokenizer and of models of its codes share."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.recipes import mae_imagenet, tiny
from maskmim.imagenet import TRAIN_IMAGES

# Steps in an epoch of ImageNet-1k in batches of 256.
EPOCH = TRAIN_IMAGES / 256
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"width": 8, "levels": (1, 2, 2), "codes": 32, "codes_width": 16},
    "small": {"width": 8, "levels": (1, 2, 4, 8), "codes": 256, "codes_width": 64},
}


def pictures(config: ConfigDict, size: str) -> None:
    """Pictures, batch and length: '' as published (ImageNet-1k at 256 pixels), 'small' or 'tiny'.

    Pixels are in [0, 1]; in a short training errors of pixels shall weigh more, so the small ones
    are normalised.
    """
    if size == "tiny":
        tiny(config)
    elif size == "small":
        config.input.size = (64, 64)
        config.train.epochs, config.train.batch_size = 20.0, 16
    else:
        mae_imagenet(config, "B/16", 300.0)
        config.input.size, config.train.batch_size = (256, 256), 256
    mean, std = (0.5, 0.25) if size == "small" else (0.0, 1.0)
    config.input.mean, config.input.std = (mean,) * 3, (std,) * 3
    config.objectives = ConfigDict()


def autoencoder(size: str) -> ConfigDict:
    """The tokenizer's model, of the same sizes."""
    given = {**SIZES[size], "blocks": 1, "groups": 4} if size else {}
    return brick("maskmim.models.vq_autoencoder.vq_autoencoder", **given)


def size_of(choice: dict[str, Any]) -> str:
    """The size that the arguments after the colon name: 'tiny', 'small' or ''."""
    return next((name for name in SIZES if choice[name]), "")
