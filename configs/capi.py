"""CAPI: Cluster and Predict Latents Patches for Improved Masked Image Modeling (arXiv 2502.08769).

  python -m maskmim.train --config capi --workdir runs/capi
  python -m maskmim.train --config capi:steps=100000 --workdir runs/capi_short

After the colon: variant=L/14 | B/14 | ...; shards=DIR (docs/data.md); steps=N of 16,384 images (all
warm-ups are the first tenth of them); tiny (a few small steps on the embedded photographs).

The encoder sees one rectangle of 90 of 256 patches, shifted around the picture; an EMA of it sees
the whole picture. A linear layer on the EMA's tokens, with a loss of its own, learns 16,384
prototypes; Sinkhorn balances their assignments over the batch at each position. A predictor of
cross-attention alone predicts the assignments of 8 of the 166 hidden patches. The recipe is the
official default_pretrain_config.yaml: AdamW (0.9, 0.95), learning rate 1e-3, 5e-4 for prototypes, a
fifth of the rate for the patch embedding, weight decay 0.1, a tenth of it on norms and (torch's
default) on prototypes, none on biases; rates rise for 50,000 steps and follow 80 % of a cosine; the
EMA's momentum starts at 1, is 0.999 after the warm-up, and returns to nearly 1 along the same
curve. Rotary frequencies are fixed; the official ones are parameters with a learning rate of 0.

Differences: the data is ImageNet-1k, the one of their four data sets that tensorflow-datasets
prepares; an epoch is every image exactly once. Dropped paths, rotary angles and the embedding's
bias differ as models.rotary_vit says. Assignments take 8.6 GB in float32 for 512 images on a
device. Micro-batches change the balance (see teachers.clusters.balanced), a mesh does not.

Published results to expect (L/14, 500,000 steps, attentive probe on ImageNet-1k top-1 / ADE20K k-NN
mIoU, official README; not yet reproduced by us): ImageNet-1k 82.9 / 29.2, ImageNet-22k 83.6 / 29.7,
LVD-142M 83.8 / 32.1, Places205 79.2 / 35.2. maskmim has neither probe.
"""

from ml_collections import ConfigDict

from maskmim.config import add, base, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.imagenet import TRAIN_IMAGES
from maskmim.losses import soft_cross_entropy
from maskmim.masks import blocks, roles
from maskmim.methods import latent_clustering
from maskmim.models.layers.compute import compute
from maskmim.models.prototypes import prototypes
from maskmim.models.rotary_vit import vit_rotary
from maskmim.objectives import fit_prototypes, match
from maskmim.optim import adamw_by_path
from maskmim.schedules import truncated_cosine
from maskmim.targets import clusters
from maskmim.teachers import average, features
from maskmim.teachers.clusters import balanced

SYSTEMS = (64,)

BATCH_SIZE = 16_384
WARMUP = 0.1  # the share of the training in which rates rise and the EMA starts to move


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, variant="L/14", steps=500_000, shards="", tiny=False)
    config = base()
    config.method = public_path(latent_clustering.latent_clustering)
    inverse = brick(blocks.inverse, ratio=0.65)
    config.mask = brick(roles.partly_predicted, sampler=inverse, share=0.05)
    config.objectives = {
        "student": brick(
            match,
            head="clusters",
            target=brick(clusters.assigned),
            loss=brick(soft_cross_entropy, temperature=0.12),
        ),
        "clusters": brick(fit_prototypes, temperature=0.12),
    }
    if choice["tiny"]:
        tiny(config)
    else:
        published(config, choice["variant"], choice["steps"])
        recipes.imagenet_data(config, choice["shards"])
    return config


def published(config: ConfigDict, variant: str, steps: int) -> None:
    """Set the recipe on ImageNet-1k."""
    config.model = brick(
        vit_rotary,
        **recipes.vit_size(variant),
        registers=16,
        decoder_depth=12,
        heads={"clusters": 16_384},
        compute=brick(compute, dtype="bfloat16"),
    )
    add_teachers(config, clusters=16_384)
    config.data.augment.scale = (0.6, 1.0)
    config.train.epochs = steps * BATCH_SIZE / TRAIN_IMAGES
    config.train.batch_size = BATCH_SIZE
    optimiser(config)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_images(config)
    config.model = brick(
        vit_rotary,
        variant="nano",
        patch=(8, 8),
        registers=4,
        decoder_depth=2,
        heads={"clusters": 32},
    )
    add_teachers(config, clusters=32)
    recipes.tiny_run(config)
    optimiser(config)


def add_teachers(config: ConfigDict, *, clusters: int) -> None:
    """Add the EMA of the encoder, the prototypes and the assignments to them."""
    momentum = brick(truncated_cosine.momentum, least=0.999, warmup=WARMUP)
    add(
        config,
        average=brick(
            average.average,
            find=brick(features.last_tokens),
            momentum=momentum,
            parts=("encoder",),
        ),
        clusters=brick(balanced),
    )
    config.calls = {"clusters": brick(prototypes, clusters=clusters)}


def optimiser(config: ConfigDict) -> None:
    """Set `optim` and `schedule`, whose warm-up is a share of `train.epochs`."""
    config.optim = brick(
        adamw_by_path,
        lr=1e-3,
        lr_per=0,
        weight_decay=0.1,
        rates=(("encoder/embed/", 0.2), ("^clusters/", 0.5)),
        decays=(("^clusters/", 0.1), ("norm[12]/", 0.1), ("bias$", 0.0)),
    )
    config.schedule = brick(
        truncated_cosine.learning_rate, warmup_epochs=WARMUP * config.train.epochs
    )
