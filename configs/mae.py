"""MAE: Masked Autoencoders Are Scalable Vision Learners (arXiv 2111.06377), ImageNet-1k.

  python -m maskmim.train --config configs/mae.py:variant=L/16,epochs=800 --workdir runs/mae_l16

After the colon: variant=B/16 | L/16 | H/14 (and any of maskmim.models.variants), epochs=N,
tiny (a few steps of a very small model on the embedded photographs, for tests).

ImageNet-1k is read through tensorflow-datasets: config.data.train.data_dir, prepared in advance; or
from shards made of its tars, see docs/data.md.
The recipe is that of the official PRETRAIN.md: AdamW (0.9, 0.95), weight decay 0.05, learning rate
1.5e-4 per 256 images at batch 4096, 40 epochs of warm-up, cosine to 0, crops of 20 to 100 % of the
picture and flips, pixels normalised per patch. The paper's settings and the code's are the same.
Difference: an epoch is every image exactly once; the official loader drops the last partial batch.

Published results to expect (ImageNet-1k top-1 after fine-tuning; not yet reproduced by us):
  B/16 1600 epochs 83.6, L/16 1600 epochs 85.9, H/14 1600 epochs 86.9 (official FINETUNE.md);
  B/16 300 / 800 epochs 83.1 / 83.3 (mmpretrain's reproduction).
  linear probe, class token: B/16 67.8, L/16 76.0, H/14 77.2 (official FINETUNE.md).
"""

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base, norm_pix_objective
from maskmim.config.python_file import parse_argument
from maskmim.config.recipes import mae_imagenet, tiny

SYSTEMS = (3,)


def get_config(arg: str = "") -> ConfigDict:
    """The config for what stands after the colon."""
    choice = parse_argument(arg, variant="B/16", epochs=800.0, tiny=False)
    config = base()
    if choice["tiny"]:
        tiny(config)
    else:
        mae_imagenet(config, choice["variant"], choice["epochs"])
    config.mask = brick("maskmim.masks.uniform.random", ratio=0.75)
    config.objectives = {"pixels": norm_pix_objective()}
    return config
