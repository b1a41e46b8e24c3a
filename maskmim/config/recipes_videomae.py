"""Parts of recipes that VideoMAE and the methods share which change its masks alone."""

from __future__ import annotations

from ml_collections import ConfigDict

from maskmim.config import recipes
from maskmim.config.bricks import brick

NETWORK = "maskmim.models.videomae.vit_videomae"
NO_DECAY = (r"(^|/)(bias|scale|mask_token)$",)


def clips(config: ConfigDict) -> None:
    """Set clips as what enters, and VideoMAE's objective."""
    config.input.stream = "video"
    config.input.kind = brick("maskmim.modalities.clip")
    loss = "maskmim.losses.squared_error"
    target = "maskmim.targets.cubes.normalised_cubes"
    config.objectives = {"pixels": recipes.match_objective("pixels", target, loss)}


def network(config: ConfigDict, variant: str, decoder: str) -> None:
    """Set a ViT on 16 of 64 frames of 224 pixels, and the crops.

    variant, decoder: as of `models.videomae.vit_videomae`.
    """
    config.input.size = (16, 224, 224)
    bfloat16 = brick("maskmim.models.layers.compute.compute", dtype="bfloat16")
    sizes = {"variant": variant, "patch": (2, 16, 16), "decoder": decoder}
    config.model = brick(NETWORK, **sizes, compute=bfloat16)
    recipes.clip_decoding(config, frames=16, stride=4)
    crops(config)


def crops(config: ConfigDict) -> None:
    """Set the augmentation of training and the crop of evaluation."""
    config.data.augment = brick("maskmim.data.clip_transforms.multi_scale_crop")
    config.evals.transform = brick("maskmim.data.clip_transforms.centre_crop")


def training(
    config: ConfigDict, *, epochs: float, batch_size: int, lr: float, lr_per: int, warmup: float
) -> None:
    """Set the length, `optim` and `schedule`, along a cosine to 1e-5 before scaling.

    lr: for `lr_per` clips. warmup: epochs of a long training, see `recipes.warmup`.
    """
    config.train.epochs = epochs
    config.train.batch_size = batch_size
    rates = {"lr": lr, "lr_per": lr_per, "final": 1e-5 / lr}
    warm = recipes.warmup(epochs, warmup)
    recipes.adamw_cosine(config, b2=0.95, no_decay=NO_DECAY, warmup_epochs=warm, **rates)


def small(config: ConfigDict) -> None:
    """Set minutes of a small model on clips of moving objects; sizes and rates are ours."""
    recipes.moving_objects(config)
    config.model = brick(NETWORK, variant="micro", patch=(2, 8, 8), decoder="2x64x2")
    recipes.small_training(config)
    config.optim.no_decay = NO_DECAY


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model on clips of moving objects."""
    recipes.moving_objects(config, side=32, counts=(64, 32))
    tiny_model(config)


def tiny_model(config: ConfigDict) -> None:
    """Set a very small model and the training of a few steps."""
    config.model = brick(NETWORK, variant="nano", patch=(2, 8, 8), decoder="1x32x2")
    recipes.tiny_run(config)
    config.optim = brick("maskmim.optim.adamw", no_decay=NO_DECAY)
    recipes.tiny_schedule(config)
