"""Bamboo: A Study on Transformer Configuration and Training Objective (arXiv 2205.10505).

  python -m maskmim.train --config bamboo --workdir runs/bamboo
  python -m maskmim.train --config bamboo:small --workdir runs/bamboo_small
  python -m maskmim.evaluate --workdir runs/bamboo_small --evals smoothing
  python -m maskmim.train --config finetune:begin=runs/bamboo_small,from_scratch --workdir runs/twin

After the colon: variant=B/16 | L/16 | H/14 (or depth x width x heads, as 24x544x8/16); epochs=N;
shards=DIR (docs/data.md); small (minutes on a CPU, on the embedded photographs); tiny (a few steps
of a very small model on them).

MAE (configs/mae.py) with a deeper and narrower encoder that has as many parameters; decoder, masks,
loss and the rest of the recipe are MAE's. By the paper the tokens of a deep classifier become alike
from block to block, those of a masked autoencoder less so, and hence depth pays. The last two lines
above measure this (evals/smoothing.py) and train a classifier of the same network on the same
pictures, which the third line measures when it gets runs/twin. In the few hundred steps that we
trained, the tokens of the autoencoder were the more alike ones (docs/probes.md).

Ours: depths and widths, for which we found no source. Width and heads are half those of MAE's
variants and there are four times as many blocks, so that the matrices of all blocks have exactly as
many values: B 48x384x6, L 96x512x8, H 128x640x10. Ours are also the 800 epochs, the learning rate,
which is MAE's, and all of small and tiny. Difference: an epoch is every image exactly once.

Published results to expect (ImageNet-1k top-1 after fine-tuning, paper; not yet reproduced by us,
and of configurations that may differ): B 84.2 (MAE 83.3), L 86.3, H 87.1.
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.defaults import norm_pix_objective
from maskmim.masks import uniform
from maskmim.models.layers.compute import compute
from maskmim.models.masked_vit import vit_mae

SYSTEMS = (27,)

# Four times the depth and half the width of MAE's variants.
DEEP = {"B": "48x384x6", "L": "96x512x8", "H": "128x640x10"}


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
    """Set MAE's recipe on ImageNet-1k."""
    size = recipes.vit_size(variant)
    size["variant"] = DEEP.get(size["variant"], size["variant"])
    config.model = brick(
        vit_mae,
        **size,
        decoder_depth=8,
        decoder_width=512,
        decoder_heads=16,
        compute=brick(compute, dtype="bfloat16"),
    )
    recipes.mae_training(config, epochs)


def small(config: ConfigDict) -> None:
    """Set minutes of a small deep model on the embedded photographs; sizes and rates are ours."""
    config.input.size = (64, 64)
    config.model = brick(
        vit_mae,
        variant="24x64x2",
        patch=(8, 8),
        decoder_depth=1,
        decoder_width=64,
        decoder_heads=2,
    )
    recipes.small_training(config)
    config.evals.at_end = (*config.evals.at_end, "smoothing")


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_images(config)
    config.model = brick(
        vit_mae,
        variant="8x16x1",
        patch=(8, 8),
        decoder_depth=1,
        decoder_width=32,
        decoder_heads=2,
    )
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)
