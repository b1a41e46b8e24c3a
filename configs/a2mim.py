"""A2MIM: Architecture-Agnostic Masked Image Modeling (ICML 2023, arXiv 2205.13943), ImageNet-1k.

  python -m maskmim.train --config a2mim --workdir runs/a2mim_vit_b
  python -m maskmim.train --config a2mim:model=resnet --workdir runs/a2mim_r50
  python -m maskmim.train --config a2mim:small --workdir runs/a2mim_small

After the colon: model=vit | resnet; variant=B, any of maskmim.models.vit.variant, or of
maskmim.models.resnet.resnet_variant (50, 101, 152, 200; 50 without one); epochs=N (800, of a ResNet
300, without one); shards=DIR (docs/data.md); small (minutes on a CPU, on the embedded photographs);
tiny (a few steps of a very small model).

30 of the 49 units of 32 x 32 pixels are hidden. In the picture they get its mean colour; a learnt
mask token is added to their features: to the patch embeddings of a ViT, before the last stage of a
ResNet, where hidden features are first scaled by learnt factors that start at 1e-6
(maskmim/models/a2mim.py). One linear layer predicts raw pixels. The loss is the absolute error of
hidden pixels (ResNet: the focal one), and 0.1 (ResNet: 0.5) times the focal frequency loss of mean
predicted and mean true pictures (maskmim/objectives/frequency.py), in which visible parts of a
prediction have no share (ResNet: 0.001).

The recipes are those of Westlake-AI/openmixup, configs/selfsup/a2mim/imagenet. ViT-B: 800 epochs,
batch size 2048, AdamW (0.9, 0.999), 1e-4 per 512 images, weight decay 0.05, gradients clipped at
norm 5, 10 epochs of warm-up, a tenth of the rate from epoch 700 (7/8 of the epochs here), crops of
67 to 100 %. ResNet-50: 300 epochs, 3e-4 per 512, a tenth of it for the mask token, no clipping,
cosine to 1e-5, crops of 80 to 100 %. Biases, norms, tokens, LayerScale and relative biases are not
decayed; the factors of hidden features are. Spectra are averaged over 128 (ResNet: 256) pictures,
the batch of one of 8 GPUs. The repository Westlake-AI/A2MIM points to openmixup for training.

Differences: an epoch is every image exactly once; crops are resized bicubically instead of
bilinearly; bfloat16 instead of float32; batch norms read the global batch, as SyncBN does. The
official ViT has relative biases in each block and learned positions, this one SimMIM's shared
biases. ConvNeXt is not included.

Published results to expect (ImageNet-1k top-1 after fine-tuning, README of
configs/selfsup/a2mim; not yet reproduced by us): ViT-B 84.3, ViT-L 86.1; ResNet-50 78.8 (100
epochs, RSB A3), 80.4 (300 epochs, RSB A2), ResNet-200 83.0.
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.data import transforms
from maskmim.losses import absolute_error, focal_absolute_error
from maskmim.masks import roles, units
from maskmim.models import resnet
from maskmim.models.a2mim import a2mim_resnet, a2mim_vit
from maskmim.models.layers.compute import compute
from maskmim.objectives import batch_frequency
from maskmim.optim import adamw, adamw_by_path
from maskmim.schedules import warmup_cosine, warmup_multistep
from maskmim.targets import pixels

SYSTEMS = (51,)

# Cells of a token's grid in a hidden unit of 32 x 32 pixels, along an axis.
UNITS = {"vit": 2, "resnet": 1}
LOSSES = {"vit": absolute_error, "resnet": focal_absolute_error}
FREQUENCY = {
    "vit": {"scale": 0.1, "visible": 0.0, "pictures": 128},
    "resnet": {"scale": 0.5, "visible": 1e-3, "pictures": 256},
}
CROPS = {"vit": (0.67, 1.0), "resnet": (0.8, 1.0)}
NO_DECAY = (r"(^|/)(bias|scale|class_token|mask_token|relative_bias)$",)
LEARNING_RATE = 3e-4  # of the ResNet, per 512 images


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg, model="vit", variant="", epochs=0.0, shards="", small=False, tiny=False
    )
    model = choice["model"]
    unit = recipes.pick_option("model", model, UNITS)
    config = base()
    hidden = brick(roles.in_place, sampler=brick(units.random, ratio=0.6, unit=unit))
    config.mask = brick(roles.hidden_weighted, sampler=hidden)
    config.objectives = {
        "pixels": recipes.match_objective("pixels", pixels.patches, LOSSES[model]),
        "frequency": brick(batch_frequency, head="pixels", **FREQUENCY[model]),
    }
    config.data.augment = brick(transforms.random_resized_crop_flip, scale=CROPS[model])
    if model == "resnet":
        config.mesh.rules = public_path(resnet.rules)
    if choice["tiny"]:
        tiny(config, model)
    elif choice["small"]:
        small(config, model)
    else:
        published(config, model, choice["variant"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    return config


def published(config: ConfigDict, model: str, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    recipe = published_vit if model == "vit" else published_resnet
    recipe(config, variant, epochs)


def published_vit(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe of ViTs on ImageNet-1k."""
    epochs = epochs or 800.0
    config.model = brick(
        a2mim_vit,
        variant=recipes.vit_of_patch_16(variant or "B"),
        compute=brick(compute, dtype="bfloat16"),
    )
    config.train.update(epochs=epochs, batch_size=2048)
    config.optim = brick(
        adamw,
        lr=1e-4,
        lr_per=512,
        b1=0.9,
        b2=0.999,
        weight_decay=0.05,
        no_decay=NO_DECAY,
        clip_norm=5.0,
    )
    config.schedule = brick(
        warmup_multistep,
        warmup_epochs=recipes.warmup(epochs, 10.0),
        drops=(epochs * 700 / 800,),
        start=2e-6,
    )


def published_resnet(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe of ResNets on ImageNet-1k."""
    epochs, batch_size = epochs or 300.0, 2048
    config.model = brick(
        a2mim_resnet, variant=variant or "50", compute=brick(compute, dtype="bfloat16")
    )
    config.train.update(epochs=epochs, batch_size=batch_size)
    config.optim = resnet_optimiser(lr=LEARNING_RATE, lr_per=512)
    config.schedule = brick(
        warmup_cosine,
        warmup_epochs=recipes.warmup(epochs, 10.0),
        final=1e-5 / (LEARNING_RATE * batch_size / 512),
    )


def resnet_optimiser(lr: float, lr_per: int) -> ConfigDict:
    """Return AdamW with a tenth of the rate for the mask token."""
    return brick(
        adamw_by_path,
        lr=lr,
        lr_per=lr_per,
        b2=0.999,
        rates=((r"mask_token$", 0.1),),
        decays=tuple((pattern, 0.0) for pattern in NO_DECAY),
    )


def small(config: ConfigDict, model: str) -> None:
    """Set minutes of a small model on the embedded photographs; sizes and rates are ours."""
    config.train.update(epochs=25.0, batch_size=64)
    config.schedule = brick(warmup_cosine, warmup_epochs=1.0)
    if model == "vit":
        config.input.size = (64, 64)
        config.model = brick(a2mim_vit, variant="micro", patch=(8, 8), drop_path=0.0)
        config.optim = brick(adamw, lr=1e-3, b2=0.999, no_decay=NO_DECAY, clip_norm=5.0)
    else:
        # 36 tokens of 16 x 16 pixels: three stages, the last one masked.
        config.input.size = (96, 96)
        config.model = brick(a2mim_resnet, variant="16x2-2-2", masked_stage=2)
        config.optim = resnet_optimiser(lr=2e-3, lr_per=256)


def tiny(config: ConfigDict, model: str) -> None:
    """Set a few steps of a very small model."""
    if model == "vit":
        recipes.tiny_images(config)
        config.model = brick(a2mim_vit, variant="nano", patch=(8, 8))
        config.optim = brick(adamw, no_decay=NO_DECAY)
    else:
        recipes.tiny_images(config, side=64)
        config.model = brick(a2mim_resnet, variant="8x1-1-1", masked_stage=2)
        config.optim = resnet_optimiser(lr=1e-3, lr_per=256)
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)
