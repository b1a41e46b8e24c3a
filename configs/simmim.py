"""SimMIM: A Simple Framework for Masked Image Modeling (arXiv 2111.09886), ImageNet-1k.

  python -m maskmim.train --config simmim --workdir runs/simmim_vit_b
  python -m maskmim.train --config simmim:model=swin --workdir runs/simmim_swin_b

After the colon: model=vit (patches of 16, 224 px) | swin (patches of 4, 192 px); variant=B, any of
maskmim.models.vit.variant or maskmim.models.swin.swin_variant; epochs=N; shards=DIR (docs/data.md);
tiny (a few small steps on the embedded photographs).

60 % of units of 32 x 32 pixels are hidden: 30 of 49 at 224 px, 22 of 36 at 192 px. Every token
enters the encoder, hidden ones as a mask embedding; one linear layer predicts the pixels of the
hidden units, and the loss is the mean absolute error on them, in pixels normalised by ImageNet's
statistics. The recipe is that of the official configs for 800 epochs: AdamW (0.9, 0.999), weight
decay 0.05, gradients clipped at norm 5, 1e-4 per 512 images at batch size 2048, 10 epochs of
warm-up from 0.5 % of the peak, a tenth of it from epoch 700 (7/8 of the epochs here), crops of 67
to 100 % and flips. As in the official code, ViT has LayerScale 0.1, drop path 0.1 and one relative
position bias for all blocks in place of positions; its class token is not decayed. Swin's mask
embedding and biases are not decayed; windows of 6, or 12 for L. The official Swin-B run of 100
epochs differs:
  --config.optim.lr=2e-4 --config.schedule.brick=maskmim.schedules.warmup_cosine
  --config.schedule.final=0.05

Differences: an epoch is every image exactly once; crops are resized bicubically instead of
bilinearly; bfloat16 instead of apex's float16; the loss is divided by the pixels of the whole
batch instead of each device's (equal, as all examples hide equally many) plus 1e-5. Swin's tokens
are the units themselves, whose number is rounded, not rounded up, at other sizes (29 of 49 at 224
px). See also maskmim/models/relative_vit.py and swin.py. Swin V2 is not included.

Published results to expect (ImageNet-1k top-1 after fine-tuning, README; not yet reproduced by us):
  ViT-B 800 epochs 83.8; Swin-B 100 epochs 83.5, 800 epochs 84.0; Swin-L 800 epochs 85.4 (Swin
  fine-tuned at 224 px). A user's ViT-B reached 83.6 (official issue 20).
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.data import transforms
from maskmim.losses import absolute_error
from maskmim.masks import roles, units
from maskmim.models.layers.compute import compute
from maskmim.models.relative_vit import relative_vit_in_place
from maskmim.models.swin import swin_in_place
from maskmim.optim import adamw
from maskmim.schedules import warmup_multistep
from maskmim.targets import pixels

SYSTEMS = (107,)

# Patches of a ViT in a unit of 32 x 32 pixels, along an axis; Swin's tokens are the units.
UNITS = {"vit": 2, "swin": 1}
NO_DECAY = {
    "vit": (r"(^|/)(bias|scale|class_token)$",),
    "swin": (r"(^|/)(bias|scale|relative_bias|mask_token)$",),
}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, model="vit", variant="B", epochs=800.0, shards="", tiny=False)
    model = choice["model"]
    unit = recipes.pick_option("model", model, UNITS)
    config = base()
    config.mask = brick(roles.in_place, sampler=brick(units.random, ratio=0.6, unit=unit))
    error = recipes.match_objective("pixels", pixels.patches, absolute_error)
    config.objectives = {"pixels": error}
    config.data.augment = brick(transforms.random_resized_crop_flip, scale=(0.67, 1.0))
    if choice["tiny"]:
        tiny(config, model)
    else:
        published(config, model, choice["variant"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    return config


def published(config: ConfigDict, model: str, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    bfloat16 = brick(compute, dtype="bfloat16")
    if model == "vit":
        variant = recipes.vit_of_patch_16(variant)
        config.model = brick(relative_vit_in_place, variant=variant, compute=bfloat16)
    else:
        config.input.size = (192, 192)
        window = 12 if variant == "L" else 6
        config.model = brick(swin_in_place, variant=variant, window=window, compute=bfloat16)
    config.train.epochs = epochs
    config.train.batch_size = 2048
    config.optim = brick(
        adamw,
        lr=1e-4,
        lr_per=512,
        b1=0.9,
        b2=0.999,
        weight_decay=0.05,
        no_decay=NO_DECAY[model],
        clip_norm=5.0,
    )
    config.schedule = brick(
        warmup_multistep,
        warmup_epochs=recipes.warmup(epochs, 10.0),
        drops=(epochs * 700 / 800,),
        start=0.005,
    )


def tiny(config: ConfigDict, model: str) -> None:
    """Set a few steps of a very small model."""
    if model == "vit":
        recipes.tiny_images(config, side=32)
        config.model = brick(relative_vit_in_place, variant="nano", patch=(8, 8))
    else:
        recipes.tiny_images(config, side=64)
        config.model = brick(swin_in_place, variant="16x2-2-2x1-2-4", window=4)
    recipes.tiny_run(config)
    config.optim = brick(adamw, no_decay=NO_DECAY[model])
    recipes.tiny_schedule(config)
