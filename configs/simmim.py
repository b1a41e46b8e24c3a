"""SimMIM: A Simple Framework for Masked Image Modeling (arXiv 2111.09886), ImageNet-1k.

  python -m maskmim.train --config configs/simmim.py --workdir runs/simmim_vit_b
  python -m maskmim.train --config configs/simmim.py:model=swin --workdir runs/simmim_swin_b

After the colon: model=vit (patches of 16, 224 px) | swin (patches of 4, 192 px); variant=B, any of
maskmim.models.vit.variant or maskmim.models.swin.swin_variant; epochs=N; tiny (a few small steps
on the embedded photographs).

60 % of units of 32 x 32 pixels are hidden: 30 of 49 at 224 px, 22 of 36 at 192 px. Every token
enters the encoder, hidden ones as a mask embedding; one linear layer predicts the pixels of the
hidden units, and the loss is the mean absolute error on them, in pixels normalised by ImageNet's
statistics. The recipe is that of the official configs for 800 epochs: AdamW (0.9, 0.999), weight
decay 0.05, gradients clipped at norm 5, 1e-4 per 512 images at batch 2048, 10 epochs of warm-up
from 0.5 % of the peak, a tenth of it from epoch 700 (7/8 of the epochs here), crops of 67 to 100 %
and flips. As there, ViT has LayerScale 0.1, drop path 0.1 and one relative position bias for all
blocks in place of positions; its class token is not decayed. Swin's mask embedding and biases are
not decayed; windows of 6, or 12 for L. The official Swin-B run of 100 epochs differs:
  --config.optim.lr=2e-4 --config.schedule.brick=maskmim.schedules.warmup_cosine
  --config.schedule.final=0.05

Differences: an epoch is every image exactly once; crops are resized bicubically, there bilinearly;
bfloat16 where they had float16 by apex; the loss is divided by the pixels of the whole batch, there
by each device's (equal, as all examples hide equally many) plus 1e-5. Swin's tokens are the units
themselves, whose number is rounded, not rounded up, at other sizes (29 of 49 at 224 px). See also
maskmim/models/relative_vit.py and swin.py. Swin V2 is not here.

Published results to expect (ImageNet-1k top-1 after fine-tuning, README; not yet reproduced by us):
  ViT-B 800 epochs 83.8; Swin-B 100 epochs 83.5, 800 epochs 84.0; Swin-L 800 epochs 85.4 (Swin
  fine-tuned at 224 px). A user's ViT-B came out at 83.6 (official issue 20).
"""

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base
from maskmim.config.parse import ConfigError
from maskmim.config.python_file import parse_argument
from maskmim.config.recipes import mae_imagenet, matched, tiny

SYSTEMS = (107,)


def get_config(arg: str = "") -> ConfigDict:
    """The config for what stands after the colon."""
    choice = parse_argument(arg, model="vit", variant="B", epochs=800.0, tiny=False)
    if choice["model"] not in ("vit", "swin"):
        raise ConfigError(f"model={choice['model']}: use vit or swin")
    config = base()
    if choice["tiny"]:
        tiny(config)
    else:
        published(config, choice["epochs"])
    part = vit if choice["model"] == "vit" else swin
    part(config, choice["variant"], choice["tiny"])
    config.data.augment = brick(
        "maskmim.data.transforms.random_resized_crop_flip", scale=(0.67, 1.0)
    )
    config.objectives = {
        "pixels": matched("pixels", "targets.pixels.patches", "losses.absolute_error")
    }
    return config


def published(config: ConfigDict, epochs: float) -> None:
    """The recipe that both encoders share, on ImageNet-1k."""
    mae_imagenet(config, "B/16", epochs)
    config.train.batch_size = 2048
    config.optim = brick(
        "maskmim.optim.adamw",
        lr=1e-4,
        lr_per=512,
        b1=0.9,
        b2=0.999,
        weight_decay=0.05,
        clip_norm=5.0,
    )
    config.schedule = brick(
        "maskmim.schedules.warmup_multistep",
        warmup_epochs=10.0,
        drops=(epochs * 700 / 800,),
        start=0.005,
    )


def vit(config: ConfigDict, variant: str, small: bool) -> None:
    """Patches of 16 pixels, masked in units of 2 x 2."""
    size = {"variant": "nano", "patch": (8, 8)} if small else {"variant": variant}
    config.model = brick("maskmim.models.relative_vit.relative_vit_in_place", **size)
    units = brick("maskmim.masks.units.random", ratio=0.6, unit=2)
    config.mask = brick("maskmim.masks.roles.in_place", sampler=units)
    config.optim.no_decay = (r"(^|/)(bias|scale|class_token)$",)
    if not small:
        config.model.dtype = "bfloat16"


def swin(config: ConfigDict, variant: str, small: bool) -> None:
    """Tokens of the last stage, 32 x 32 pixels, are what the mask is made of."""
    config.input.size = (64, 64) if small else (192, 192)
    size = {"variant": "16x2-2-2x1-2-4", "window": 4}
    if not small:
        size = {"variant": variant, "window": 12 if variant == "L" else 6, "dtype": "bfloat16"}
    config.model = brick("maskmim.models.swin.swin_in_place", **size)
    units = brick("maskmim.masks.units.random", ratio=0.6, unit=1)
    config.mask = brick("maskmim.masks.roles.in_place", sampler=units)
    config.optim.no_decay = (r"(^|/)(bias|scale|relative_bias|mask_token)$",)
