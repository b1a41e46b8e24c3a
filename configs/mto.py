"""MTO: Emerging Property of Masked Token for Effective Pre-training (ECCV 2024), as we guess it.

  python -m maskmim.train --config mto --workdir runs/mto_simmim
  python -m maskmim.train --config mto:host=mae --workdir runs/mto_mae
  python -m maskmim.train --config mto:small --workdir runs/mto_small

arXiv 2404.08330. After the colon: host=simmim | mae; variant=B (any of
maskmim.models.vit.variant); epochs=N; shards=DIR (docs/data.md); small (minutes on a CPU, on the
embedded photographs); tiny (a few steps of a very small model on them).

This is not the published method. The paper names three losses, L_spa, L_e and L_r, and a
recalibration of weights by an entropy of hidden and visible tokens; we found neither the formulas
nor the code (its page names github.com/doihye/MTO, which we could not read). From the abstract we
know that mask tokens should resemble visible tokens as little as possible in early layers, and that
their weight is recalibrated. All that carries this out is ours: a term of the loss, 0.1 times the
mean squared cosine of hidden to visible tokens in the first 4 blocks (objectives/singularity.py),
and for each head a learnt factor of the attention from visible to hidden tokens (models/mto.py).
MAE has mask tokens in its decoder alone: there the term reads the first 2 blocks of the decoder,
and nothing is recalibrated. L_spa, L_e and L_r have no counterparts. A mask token that grows very
long satisfies the term without learning anything. BootMAE and ConMIM are not included as hosts.

Masks, targets, optimiser and schedule are the host's, see configs/simmim.py (its batch size, rate,
drops at 7/8 and drop path) and configs/mae.py. Ours: 400 epochs, half of the hosts' 800, and all of
small and tiny. Whether the term saves epochs was not measured.

Published results to expect: none known. The abstract states about 50 % fewer epochs to the hosts'
converged accuracy, for the published method.
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.defaults import norm_pix_objective
from maskmim.data import transforms
from maskmim.losses import absolute_error
from maskmim.masks import roles, uniform, units
from maskmim.models.layers.compute import compute
from maskmim.models.mto import mto_mae, mto_simmim
from maskmim.objectives import singularity
from maskmim.optim import adamw
from maskmim.schedules import warmup_multistep
from maskmim.targets import pixels

SYSTEMS = (79,)

NO_DECAY = (r"(^|/)(bias|scale|class_token|mask_bias)$",)
MODELS = {"simmim": mto_simmim, "mae": mto_mae}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg, host="simmim", variant="B", epochs=400.0, shards="", small=False, tiny=False
    )
    host = choice["host"]
    model = recipes.pick_option("host", host, MODELS)
    config = base()
    if host == "simmim":
        config.mask = brick(roles.in_place, sampler=brick(units.random, ratio=0.6, unit=2))
        error = recipes.match_objective("pixels", pixels.patches, absolute_error)
        config.data.augment = brick(transforms.random_resized_crop_flip, scale=(0.67, 1.0))
    else:
        config.mask = brick(uniform.random, ratio=0.75)
        error = norm_pix_objective()
    config.objectives = {"pixels": error, "singularity": brick(singularity, scale=0.1)}
    if choice["tiny"]:
        tiny(config, host)
    elif choice["small"]:
        small(config, host)
    else:
        variant = recipes.vit_of_patch_16(choice["variant"])
        config.model = brick(model, variant=variant, compute=brick(compute, dtype="bfloat16"))
        published(config, host, choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    if host == "simmim":
        config.optim.no_decay = NO_DECAY
    return config


def published(config: ConfigDict, host: str, epochs: float) -> None:
    """Set the recipe of the host on ImageNet-1k."""
    if host == "mae":
        recipes.mae_training(config, epochs)
        return
    config.train.epochs = epochs
    config.train.batch_size = 2048
    config.optim = brick(
        adamw,
        lr=1e-4,
        lr_per=512,
        b1=0.9,
        b2=0.999,
        weight_decay=0.05,
        clip_norm=5.0,
    )
    config.schedule = brick(
        warmup_multistep,
        warmup_epochs=recipes.warmup(epochs, 10.0),
        drops=(epochs * 700 / 800,),
        start=0.005,
    )


def small(config: ConfigDict, host: str) -> None:
    """Set minutes of a small model on the embedded photographs; sizes and rates are ours."""
    config.input.size = (64, 64)
    config.model = brick(MODELS[host], variant="micro", patch=(8, 8), blocks=2)
    if host == "mae":
        config.model.update(decoder_depth=2, decoder_width=64, decoder_heads=2)
    recipes.small_training(config)


def tiny(config: ConfigDict, host: str) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_images(config)
    config.model = brick(MODELS[host], variant="nano", patch=(8, 8), blocks=1)
    if host == "mae":
        config.model.update(decoder_depth=2, decoder_width=32, decoder_heads=2)
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)
