"""Parts of recipes of self-distillation over crops: DINO, iBOT and AttMask.

Bricks are named by path, as in `config.recipes`.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from maskmim.config import recipes
from maskmim.config.bricks import brick
from maskmim.config.load import add

RISE = 30.0  # epochs over which the teacher's temperatures rise

# Keywords of the network with a projection head in small runs, and in tiny ones (ours).
SMALL_PROJECTED: dict[str, Any] = {
    "variant": "micro",
    "patch": (8, 8),
    "prototypes": 512,
    "hidden": 256,
    "bottleneck": 64,
}
TINY_PROJECTED: dict[str, Any] = {
    "variant": "nano",
    "patch": (8, 8),
    "prototypes": 64,
    "hidden": 64,
    "bottleneck": 16,
}


def distilled(config: ConfigDict, *, mask: ConfigDict, find: str) -> None:
    """Set the method, its sampler and its teacher, an EMA whose momentum rises from 0.996 to 1.

    mask: the section of the sampler. find: path of what the teacher computes, see
    `maskmim.teachers.projections`. Features are those of the class token.
    """
    config.method = "maskmim.methods.self_distillation.self_distillation"
    config.mask = mask
    config.objectives = {}
    momentum = brick("maskmim.teachers.momentum.cosine", start=0.996, end=1.0)
    average = "maskmim.teachers.average.average"
    add(config, teacher=brick(average, find=brick(find), momentum=momentum))
    config.evals.pooling = "class"


def losses(rise: float, **scales: float) -> ConfigDict:
    """Return the losses' settings; the teacher's temperatures rise from 0.04 to 0.07.

    rise: share of the training over which they do. scales: class_scale, patch_scale.
    """
    linear = "maskmim.teachers.momentum.linear"
    temperature = brick(linear, start=0.04, end=0.07, until=rise)
    both = {"class_temperature": temperature, "patch_temperature": temperature}
    return brick("maskmim.losses.distillation", **both, **scales)


def dino_optimiser(config: ConfigDict, *, late_epochs: float, warmup_epochs: float) -> None:
    """Set `optim` and `schedule`: 5e-4 per 256 images; the rate ends at 1e-6 for any batch size."""
    config.optim = brick("maskmim.optim.adamw_dino", late_epochs=late_epochs)
    peak = config.optim.lr * config.train.batch_size / config.optim.lr_per
    schedule = "maskmim.schedules.warmup_cosine"
    config.schedule = brick(schedule, warmup_epochs=warmup_epochs, final=1e-6 / peak)


def small_run(config: ConfigDict) -> None:
    """Set `input`, `data` and the training of minutes on the embedded photographs (ours)."""
    config.input.size = (64, 64)
    config.data.augment = crops((32, 32))
    config.train.epochs = 10.0
    config.train.batch_size = 64
    # Of so few steps an average of 0.996 would keep the first weights.
    config.teacher.momentum.start = 0.99
    dino_optimiser(config, late_epochs=0.5, warmup_epochs=1.0)


def tiny_run(config: ConfigDict) -> None:
    """Set `input`, `data` and the training of a few small steps."""
    recipes.tiny_images(config)
    config.data.augment = crops((16, 16))
    recipes.tiny_run(config)
    dino_optimiser(config, late_epochs=0.05, warmup_epochs=0.1)


def crops(local_size: tuple[int, int]) -> ConfigDict:
    """Return the augmentation of small runs: two crops and three of another size (ours)."""
    return brick(
        "maskmim.data.multi_crop.multi_crop",
        global_scale=(0.25, 1.0),
        local_scale=(0.05, 0.25),
        local_size=local_size,
        local_count=3,
    )
