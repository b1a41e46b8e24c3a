"""MaskFeat: Masked Feature Prediction for Self-Supervised Visual Pre-Training (arXiv 2112.09133).

  python -m maskmim.train --config maskfeat --workdir runs/maskfeat_vit_b
  python -m maskmim.train --config maskfeat:variant=L,epochs=1600 --workdir runs/maskfeat

After the colon: variant=B | L (patches of 16; any of maskmim.models.vit.variant); epochs=N;
shards=DIR (docs/data.md); tiny (a few small steps on the embedded photographs). MaskFeat for clips
is configs/maskfeat_video.py.

78 of 196 patches are hidden in blocks of at least 15. Every token enters the encoder, hidden ones
as a mask embedding; one linear layer predicts the HOG of each hidden patch, 108 values, of the
normalised picture; the loss is the mean squared error. The recipe is that of the official
in1k_VIT_B_MaskFeat_PT.yaml: AdamW (0.9, 0.999), weight decay 0.05 on all but biases and norms (the
positions are decayed too), gradients clipped at norm 0.02, 2e-4 per 256 images, 30 epochs of
warm-up, cosine to 0.5 % of the peak, crops of 50 to 100 % and flips, no colour. The batch size of
2048 is the paper's; the configs have 256, for one machine, and scale the rate by machines.

Differences: an epoch is every image exactly once; the warm-up starts at 0 instead of 0.5 % of the
peak; exactly 78 patches are hidden instead of up to 78, see maskmim.masks.blocks.beit; the class
token has no position (a learnt token makes it redundant); kernels start as in MAE and the head as
in SimMIM instead of a normal distribution of deviation 0.02, biases of the encoder start at 0
instead of 0.02; bfloat16 instead of float32 (HOG and loss are float32 here too). See also
maskmim/targets/hog.py.

Published results to expect (ImageNet-1k top-1 after fine-tuning; not yet reproduced by us):
  ViT-B 1600 epochs 84.0, ViT-L 1600 epochs 85.7 (official README of projects/maskfeat);
  ViT-B 300 epochs 83.4 (mmpretrain's reproduction).
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.data import transforms
from maskmim.losses import squared_error
from maskmim.masks import blocks, roles
from maskmim.models.in_place import vit_in_place
from maskmim.models.layers.compute import compute
from maskmim.objectives import match
from maskmim.optim import adamw
from maskmim.targets import hog

SYSTEMS = (31,)

HEADS = {"hog": 108}  # 3 channels, 9 bins, 2 x 2 cells of 8 pixels in a patch of 16.
NO_DECAY = (r"(^|/)(bias|scale)$",)


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, variant="B", epochs=300.0, shards="", tiny=False)
    config = base()
    config.objectives = {
        "hog": brick(
            match,
            head="hog",
            target=brick(hog.hog_patches, bins=9, cell=8),
            loss=brick(squared_error),
        )
    }
    config.data.augment = brick(transforms.random_resized_crop_flip, scale=(0.5, 1.0))
    if choice["tiny"]:
        tiny(config)
    else:
        variant = recipes.vit_of_patch_16(choice["variant"])
        published(config, variant, choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    return config


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    config.model = brick(
        vit_in_place,
        variant=variant,
        patch=(16, 16),
        heads=HEADS,
        compute=brick(compute, dtype="bfloat16"),
    )
    config.mask = block_mask(smallest=15)
    config.train.epochs = epochs
    config.train.batch_size = 2048
    recipes.adamw_cosine(
        config,
        lr=2e-4,
        lr_per=256,
        no_decay=NO_DECAY,
        clip_norm=0.02,
        warmup_epochs=recipes.warmup(epochs, 30.0),
        final=0.005,
    )


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_images(config, side=64)
    config.model = brick(vit_in_place, variant="nano", patch=(16, 16), heads=HEADS)
    config.mask = block_mask(smallest=3)
    recipes.tiny_run(config)
    config.optim = brick(adamw, no_decay=NO_DECAY)
    recipes.tiny_schedule(config)


def block_mask(smallest: int) -> ConfigDict:
    """Return the sampler: blocks of at least `smallest` patches, hidden in place."""
    return brick(roles.in_place, sampler=brick(blocks.beit, ratio=0.4, smallest=smallest))
