"""MaskFeat: Masked Feature Prediction for Self-Supervised Visual Pre-Training (arXiv 2112.09133).

  python -m maskmim.train --config configs/maskfeat.py --workdir runs/maskfeat_vit_b
  python -m maskmim.train --config configs/maskfeat.py:variant=L,epochs=1600 --workdir runs/maskfeat

After the colon: variant=B | L (patches of 16; any of maskmim.models.vit.variant), epochs=N; tiny (a
few small steps on the embedded photographs).

For clips see configs/maskfeat_video.py.

78 of 196 patches are hidden in blocks of at least 15. Every token enters the encoder, hidden ones
as a mask embedding; one linear layer predicts the HOG of each hidden patch, 108 values, of the
normalised picture; the loss is the mean squared error. The recipe is that of the official
in1k_VIT_B_MaskFeat_PT.yaml: AdamW (0.9, 0.999), weight decay 0.05 on all but biases and norms (the
positions are decayed too), gradients clipped at norm 0.02, 2e-4 per 256 images, 30 epochs of
warm-up, cosine to 0.5 % of the peak, crops of 50 to 100 % and flips, no colour. The batch of 2048
is the paper's; the configs name 256, the batch of one machine, and scale the rate by machines.

Differences: an epoch is every image exactly once; the warm-up starts at 0, there at 0.5 % of the
peak; exactly 78 patches are hidden, there up to 78, see maskmim.masks.blocks.beit; the class token
has no position of its own (a learnt token makes it redundant); kernels start as in MAE and the
head as in SimMIM, there all from a normal distribution of deviation 0.02, biases of the encoder
start at 0, there at 0.02; bfloat16, there float32 (HOG and loss are float32 here too). See also
maskmim/targets/hog.py.

Published results to expect (ImageNet-1k top-1 after fine-tuning; not yet reproduced by us):
  ViT-B 1600 epochs 84.0, ViT-L 1600 epochs 85.7 (official README of projects/maskfeat);
  ViT-B 300 epochs 83.4 (mmpretrain's reproduction).
"""

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base
from maskmim.config.python_file import parse_argument
from maskmim.config.recipes import adamw_cosine, mae_imagenet, tiny

SYSTEMS = (31,)

HOG_VALUES = 108  # 3 channels, 9 bins, 2 x 2 cells of 8 pixels in a patch of 16.


def get_config(arg: str = "") -> ConfigDict:
    """The config for what stands after the colon."""
    choice = parse_argument(arg, variant="B", epochs=300.0, tiny=False)
    config = base()
    if choice["tiny"]:
        tiny(config)
        config.input.size = (64, 64)
        size = {"variant": "nano"}
    else:
        published(config, choice["epochs"])
        size = {"variant": choice["variant"], "dtype": "bfloat16"}
    config.model = brick(
        "maskmim.models.in_place.vit_in_place",
        patch=(16, 16),
        heads=ConfigDict({"hog": HOG_VALUES}),
        **size,
    )
    config.optim.no_decay = (r"(^|/)(bias|scale)$",)
    config.data.augment = brick(
        "maskmim.data.transforms.random_resized_crop_flip", scale=(0.5, 1.0)
    )
    blocks = brick("maskmim.masks.blocks.beit", ratio=0.4, smallest=3 if choice["tiny"] else 15)
    config.mask = brick("maskmim.masks.roles.in_place", sampler=blocks)
    config.objectives = {
        "hog": brick(
            "maskmim.objectives.match",
            head="hog",
            target=brick("maskmim.targets.hog.hog_patches", bins=9, cell=8),
            loss=brick("maskmim.losses.squared_error"),
        )
    }
    return config


def published(config: ConfigDict, epochs: float) -> None:
    """The recipe on ImageNet-1k."""
    mae_imagenet(config, "B/16", epochs)
    schedule = {"warmup_epochs": 30.0, "final": 0.005}
    adamw_cosine(config, batch_size=2048, lr=2e-4, lr_per=256, clip_norm=0.02, **schedule)
