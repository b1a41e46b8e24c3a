"""MAE: Masked Autoencoders Are Scalable Vision Learners (arXiv 2111.06377), ImageNet-1k.

  python -m maskmim.train --config mae:variant=L/16,epochs=800 --workdir runs/mae_l16

After the colon: variant=B/16 | L/16 | H/14 (and any of maskmim.models.vit.variant); epochs=N;
shards=DIR (docs/data.md); small (minutes on a CPU, on the embedded photographs); tiny (a few steps
of a very small model on them).

ImageNet-1k is read through tensorflow-datasets, prepared in config.data.train.data_dir, or from
shards made of its tar files, see docs/data.md.
The recipe is that of the official PRETRAIN.md: AdamW (0.9, 0.95), weight decay 0.05, learning rate
1.5e-4 per 256 images at batch size 4096, 40 epochs of warm-up, cosine to 0, crops of 20 to 100 % of
the picture and flips, pixels normalised per patch. The paper and the code have the same settings.
Difference: an epoch is every image exactly once; the official loader drops the last partial batch.

Published results to expect (ImageNet-1k top-1 after fine-tuning; not yet reproduced by us):
  B/16 1600 epochs 83.6, L/16 1600 epochs 85.9, H/14 1600 epochs 86.9 (official FINETUNE.md);
  B/16 300 / 800 epochs 83.1 / 83.3 (mmpretrain's reproduction).
  linear probe, class token: B/16 67.8, L/16 76.0, H/14 77.2 (official FINETUNE.md).
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.defaults import norm_pix_objective
from maskmim.masks import uniform
from maskmim.models.layers.compute import compute
from maskmim.models.masked_vit import vit_mae

SYSTEMS = (3,)


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, variant="B/16", epochs=800.0, shards="", small=False, tiny=False)
    config = base()
    config.mask = brick(uniform.random, ratio=0.75)
    config.objectives = {"pixels": norm_pix_objective()}
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    return config


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    config.model = brick(
        vit_mae,
        **recipes.vit_size(variant),
        decoder_depth=8,
        decoder_width=512,
        decoder_heads=16,
        compute=brick(compute, dtype="bfloat16"),
    )
    recipes.mae_training(config, epochs)


def small(config: ConfigDict) -> None:
    """Set minutes of a small model on the embedded photographs; sizes and rates are ours."""
    recipes.small_model(config, brick(vit_mae, **recipes.SMALL_VIT))


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_model(config, brick(vit_mae, **recipes.TINY_VIT))
