"""Pixio: MAE with a deep decoder, coarse mask units and several class tokens (arXiv 2512.15715).

  python -m maskmim.train --config configs/pixio.py --workdir runs/pixio
  python -m maskmim.train --config configs/pixio.py:variant=B/16,decoder_depth=8 --workdir runs/b

After the colon: variant=B/16 | L/16 | H/16 | ..., epochs (of ImageNet-1k), decoder_depth, tiny.

The recipe is the published one for ImageNet: 256 px, ViT-H/16, decoder of 32 blocks, 75 % of units
of 4 x 4 patches hidden, 8 class tokens, batch 8192, base rate 2.5e-5 per 256, drop path 0.4, crops
without flips, 400 rounds of 1605 steps, 40 of them warm-up: 642,000 steps, which are 4,105 epochs.
The released models are distilled from one trained on 2 billion web images, which is not this run.
Differences: see maskmim/models/pixio.py.

Published results (README, ViT-H/16, web images, frozen encoder): NYUv2 depth 95.5 / 90.8 (DPT /
linear), ADE20K 53.6 / 50.2 mIoU. None for ImageNet pretraining; nothing is reproduced here.
"""

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base, norm_pix_objective
from maskmim.config.python_file import parse_argument
from maskmim.config.recipes import mae_imagenet, tiny


def get_config(arg: str = "") -> ConfigDict:
    """The config for what stands after the colon."""
    choice = parse_argument(arg, variant="H/16", epochs=4105.0, decoder_depth=32, tiny=False)
    config = base()
    if choice["tiny"]:
        tiny(config)
        config.input.size = (64, 64)
        model = {"variant": "nano", "patch": (8, 8), "class_tokens": 3, "drop_path": 0.1}
        model |= {"decoder_depth": 2, "decoder_width": 32, "decoder_heads": 2}
    else:
        mae_imagenet(config, choice["variant"], choice["epochs"])
        config.input.size = (256, 256)
        config.train.batch_size = 8192
        config.optim.lr = 2.5e-5
        config.optim.no_decay = (r"(^|/)(bias|scale)$",)  # Learned positions are decayed.
        config.schedule.warmup_epochs = choice["epochs"] / 10
        name, patch = choice["variant"].split("/")
        model = {"variant": name, "patch": (int(patch), int(patch)), "dtype": "bfloat16"}
        model |= {"decoder_depth": choice["decoder_depth"]}
    config.model = brick("maskmim.models.pixio.vit_pixio", **model)
    config.mask = brick("maskmim.masks.units.random", ratio=0.75, unit=4)
    config.data.augment = brick("maskmim.data.transforms.random_resized_crop_flip", flip=0.0)
    config.objectives = {"pixels": norm_pix_objective()}
    return config
