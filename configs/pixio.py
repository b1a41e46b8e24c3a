"""Pixio: MAE with a deep decoder, coarse mask units and several class tokens (arXiv 2512.15715).

  python -m maskmim.train --config pixio --workdir runs/pixio
  python -m maskmim.train --config pixio:variant=B/16,decoder_depth=8 --workdir runs/b

After the colon: variant=B/16 | L/16 | H/16 | ...; epochs=N (of ImageNet-1k); shards=DIR
(docs/data.md); decoder_depth=N; tiny.

The recipe is the published one for ImageNet: 256 px, ViT-H/16, decoder of 32 blocks, 75 % of units
of 4 x 4 patches hidden, 8 class tokens, batch size 8192, learning rate 2.5e-5 per 256, drop path
0.4, crops without flips, 400 rounds of 1605 steps, 40 of them warm-up: 642,000 steps, which are
4,105 epochs. The released models are distilled from one trained on 2 billion web images, which is
not this run. Differences: see maskmim/models/pixio.py.

Published results (README, ViT-H/16, web images, frozen encoder): NYUv2 depth 95.5 / 90.8 (DPT /
linear), ADE20K 53.6 / 50.2 mIoU. None for pretraining on ImageNet; not yet reproduced by us.
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.defaults import norm_pix_objective
from maskmim.data import transforms
from maskmim.masks import units
from maskmim.models.layers.compute import compute
from maskmim.models.pixio import vit_pixio

NO_DECAY = (r"(^|/)(bias|scale)$",)  # Learnt positions are decayed.


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg, variant="H/16", epochs=4105.0, decoder_depth=32, shards="", tiny=False
    )
    config = base()
    config.mask = brick(units.random, ratio=0.75, unit=4)
    config.objectives = {"pixels": norm_pix_objective()}
    config.data.augment = brick(transforms.random_resized_crop_flip, flip=0.0)
    if choice["tiny"]:
        tiny(config)
    else:
        published(config, choice["variant"], choice["decoder_depth"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    return config


def published(config: ConfigDict, variant: str, decoder_depth: int, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    config.input.size = (256, 256)
    config.model = brick(
        vit_pixio,
        **recipes.vit_size(variant),
        decoder_depth=decoder_depth,
        compute=brick(compute, dtype="bfloat16"),
    )
    config.train.epochs = epochs
    config.train.batch_size = 8192
    recipes.adamw_cosine(
        config, lr=2.5e-5, lr_per=256, b2=0.95, no_decay=NO_DECAY, warmup_epochs=epochs / 10
    )


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_images(config, side=64)
    config.model = brick(
        vit_pixio,
        variant="nano",
        patch=(8, 8),
        class_tokens=3,
        decoder_depth=2,
        decoder_width=32,
        decoder_heads=2,
        drop_path=0.1,
    )
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)
