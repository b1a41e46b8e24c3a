"""CRATE-MAE: a masked autoencoder of white-box transformers (arXiv 2404.02446), ImageNet-1k.

  python -m maskmim.train --config crate_mae --workdir runs/crate_mae
  python -m maskmim.train --config crate_mae:small --workdir runs/crate_mae_small

After the colon: variant=T | S | B | L, the official mae_crate_tiny, small, base and large (encoder
and decoder 12x384x6, 12x576x12, 12x768x12 or 24x1024x16 each), or depth x width x heads; epochs=N;
shards=DIR (docs/data.md); small (some minutes on two CPU cores, embedded photographs); tiny (a few
steps of a very small model).

Each block of the encoder is one step of an optimiser of the sparse rate reduction: attention with
one projection for queries, keys and values compresses the tokens in subspaces, a step of ISTA makes
them sparse. The decoder has as many blocks, which undo these steps. Mask tokens stand in for hidden
patches before the encoder, so that both halves see all 197 tokens. Target, loss and mask are MAE's.
`evals.measures.sparse_rate` tells how the coding rate and the sparsity go over the blocks.

Files: maskmim/models/crate.py, maskmim/evals/sparse_rate.py.

Recipe: the official README sends to MAE's training code with another model file, and gives no
command. So the numbers here are those of MAE's PRETRAIN.md (configs/mae.py), and all of them are
ours for this model: 800 epochs, batch 4096, learning rate 1.5e-4 per 256 images, 40 epochs of
warm-up, pixels normalised per patch. Step 0.1 and penalty 0.5 are those of the released code; the
supervised CRATE has a penalty of 0.1. All numbers of `small` and `tiny` are ours.
Differences: an epoch is every image exactly once; the official model's unused layer is not made.

Published results to expect: 44.6 million parameters for B where ViT-MAE with a decoder of its width
has 143.8 (fixed positions and the unused layer included); accuracies: none known to us, as the
tables of the paper were not at hand.
"""

from ml_collections import ConfigDict

from maskmim.config import add, base, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.config.defaults import norm_pix_objective
from maskmim.evals.sparse_rate import sparse_rate
from maskmim.masks import roles, uniform
from maskmim.models import crate
from maskmim.models.layers.compute import compute
from maskmim.optim import adamw
from maskmim.schedules import warmup_cosine

SYSTEMS = (48,)

VARIANTS = {"T": "12x384x6", "S": "12x576x12", "B": "12x768x12", "L": "24x1024x16"}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, variant="B", epochs=800.0, shards="", small=False, tiny=False)
    config = base()
    config.mask = brick(roles.in_place, sampler=brick(uniform.random, ratio=0.75))
    config.objectives = {"pixels": norm_pix_objective()}
    config.mesh.rules = public_path(crate.rules)
    add(config.evals.measures, sparse_rate=brick(sparse_rate))
    config.evals.monitors = (*config.evals.monitors, "sparse_rate")
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    return config


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    size = VARIANTS.get(variant, variant)
    config.model = brick(crate.crate_mae, variant=size, compute=brick(compute, dtype="bfloat16"))
    recipes.mae_training(config, epochs)


def small(config: ConfigDict) -> None:
    """Set some minutes on two CPU cores, on the embedded photographs."""
    config.input.size = (96, 96)
    config.model = brick(crate.crate_mae, variant="4x128x4", patch=(12, 12))
    config.train.epochs = 10.0
    config.train.batch_size = 64
    config.optim = brick(adamw, lr=1.5e-3, lr_per=64)
    config.schedule = brick(warmup_cosine, warmup_epochs=1.0)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_images(config)
    config.model = brick(crate.crate_mae, variant="2x32x2", patch=(8, 8))
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)
