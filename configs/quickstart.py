"""Quickstart: a small ViT learns from the embedded Grocery Store photographs, on two CPU cores.

  python -m maskmim.train --config quickstart --workdir runs/quickstart

After the colon: mask=green | red | blue | purple | white | random; epochs=N, of which a tenth is
warm-up.

ColorMAE (arXiv 2407.13036) with green-noise masks, MAE's objective, photographs at 96 px (MIT
licence, 5,421 photographs, 81 fine and 43 coarse classes; 2,936 for training, 2,485 for testing,
taken in other stores). It differs from the published recipe in size, and in the learning rate that
goes with it. Nothing is downloaded. The README has the results and the time it takes.
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.masks import colour, uniform
from maskmim.models.masked_vit import vit_mae
from maskmim.optim import adamw
from maskmim.schedules import warmup_cosine

MASKS = {
    "green": colour.green,
    "red": colour.red,
    "blue": colour.blue,
    "purple": colour.purple,
    "white": colour.white,
    "random": uniform.random,
}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, mask="green", epochs=30.0)
    config = base()
    config.input.size = (96, 96)
    config.model = brick(
        vit_mae,
        variant="4x128x4",
        patch=(12, 12),
        decoder_depth=1,
        decoder_width=96,
        decoder_heads=3,
    )
    config.mask = brick(recipes.pick_option("mask", choice["mask"], MASKS), ratio=0.75)
    config.train.epochs = choice["epochs"]
    config.train.batch_size = 64
    config.optim = brick(adamw, lr=1.5e-3, lr_per=64)
    config.schedule = brick(warmup_cosine, warmup_epochs=choice["epochs"] / 10)
    config.checkpoint.every_epochs = 2.0
    return config
