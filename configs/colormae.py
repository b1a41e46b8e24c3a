"""ColorMAE: data-independent masks from filtered noise (arXiv 2407.13036), ImageNet-1k.

  python -m maskmim.train --config configs/colormae.py:epochs=300 --workdir runs/colormae
  python -m maskmim.train --config configs/colormae.py:mask=blue --workdir runs/colormae_blue

After the colon: mask=green | red | blue | purple | white | bank (the official procedure: one stored
bank of patterns, cropped once for each 512 images); variant and epochs as in configs/mae.py; tiny.

Everything but the mask is MAE's recipe (the official configs inherit mmpretrain's MAE).
Differences: masks are filtered on the device, fresh and independent for every image; the authors
crop one bank of 3072 stored patterns. Their filter widths are not published; ours are documented
defaults in maskmim/masks/colour.py and can be set: --config.mask.narrow=0.5 --config.mask.wide=1.

Published results to expect (official README and logs; not yet reproduced by us):
  B/16 green, ImageNet-1k fine-tuning, 300 / 800 / 1600 epochs: 83.01 / 83.61 / 83.77
  (MAE in the same code: 82.82 / 83.17 / 83.43); L/16 800 epochs 85.64 (MAE 85.42).
  ADE20K UperNet B/16: 45.80 / 49.18 / 49.26 mIoU. Training loss at the end, norm-pix: 0.483 /
  0.476 / 0.478, from 0.908 at the start.
"""

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base, norm_pix_objective
from maskmim.config.python_file import parse_argument
from maskmim.config.recipes import mae_imagenet, tiny

SYSTEMS = (1,)


def get_config(arg: str = "") -> ConfigDict:
    """The config for what stands after the colon."""
    choice = parse_argument(arg, mask="green", variant="B/16", epochs=300.0, tiny=False)
    config = base()
    if choice["tiny"]:
        tiny(config)
    else:
        mae_imagenet(config, choice["variant"], choice["epochs"])
    colour_mask(config, choice["mask"])
    config.objectives = {"pixels": norm_pix_objective()}
    return config


def colour_mask(config: ConfigDict, mask: str) -> None:
    """Sets the sampler: a colour filtered on the device, or the official bank of green noise."""
    if mask == "bank":
        config.mask = brick("maskmim.masks.bank.cropped", ratio=0.75)
        config.teachers = {"noise": brick("maskmim.teachers.noise_bank.generated")}
    else:
        config.mask = brick(f"maskmim.masks.colour.{mask}", ratio=0.75)
