"""Self-Guided MAE: Self-Guided Masked Autoencoder (arXiv 2507.19773, NeurIPS 2024), ImageNet-1k.

  python -m maskmim.train --config self_guided --workdir runs/self_guided
  python -m maskmim.train --config self_guided:small --workdir runs/self_guided_small

After the colon: variant=B/16 | L/16 | H/14 (and any of maskmim.models.vit.variant); epochs=N;
shards=DIR (docs/data.md); small (minutes on a CPU, on the embedded photographs); tiny (a few steps
of a very small model on them).

MAE whose masks come from the network itself. Masks are random at first. Then the encoder of the
same step sees the whole picture without a gradient (teachers/current.py, teachers/features.py), a
normalised cut of the similarities of its patch features finds the main object (masks/clusters.py),
and the patches most similar to it are hidden, 75 % in all, but for a few of the object that stay as
hints. Network, target, loss and the rest of the recipe are MAE's, for 400 epochs. Random masks cost
as much as guided ones, as the encoder sees whole pictures from the first step on.

No code is published, and beside the abstract and the captions of figures we have not read the
paper. Ours are hence: the change-over at an eighth of the training (the captions say that hidden
tokens overtake visible ones in the decoder after about 50 of 400 epochs); the output of the last
encoder block as features (the captions compare encoder and decoder blocks); the edges, the side of
the cut that counts as the object, the share of hints, 5 %, and that they are drawn at random, see
masks/clusters.py; MAE's values of the optimiser; all sizes and rates of small and tiny. Pictures
and held-out losses of a run show the random masks of its first step.

Measured on 256 synthetic scenes with one pasted object each (data/scenes.py) after :small, one
seed: what is hidden follows regions of alike patches, but not the objects. The overlap (IoU) of
hidden and object patches is 0.31, with random masks 0.31, with an untrained network 0.33.

Published results to expect: none known; the abstract says that it is better than MAE and than
attention-guided masks.
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.defaults import norm_pix_objective
from maskmim.masks import clusters, combine, uniform
from maskmim.models.layers.compute import compute
from maskmim.models.masked_vit import vit_mae
from maskmim.models.vit import variant as variant_size
from maskmim.teachers import current, features

SYSTEMS = (2,)

RATIO = 0.75


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, variant="B/16", epochs=400.0, shards="", small=False, tiny=False)
    config = base()
    config.objectives = {"pixels": norm_pix_objective()}
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    config.mask = brick(
        combine.schedule,
        first=brick(uniform.random, ratio=RATIO),
        then=brick(clusters.self_guided, ratio=RATIO),
        until=1 / 8,
    )
    depth = variant_size(config.model.variant).depth
    found = brick(features.block_tokens, layer=depth)
    config.teachers = {"itself": brick(current.current, find=found)}
    return config


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set MAE's recipe on ImageNet-1k."""
    config.model = brick(
        vit_mae,
        **recipes.vit_size(variant),
        decoder_depth=8,
        decoder_width=512,
        decoder_heads=16,
        compute=brick(compute, dtype="bfloat16"),
    )
    recipes.mae_training(config, epochs)


def small(config: ConfigDict) -> None:
    """Set minutes of a small model on the embedded photographs; sizes and rates are ours."""
    recipes.small_model(config, brick(vit_mae, **recipes.SMALL_VIT))


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_model(config, brick(vit_mae, **recipes.TINY_VIT))
