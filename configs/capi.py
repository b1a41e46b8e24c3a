"""CAPI: Cluster and Predict Latents Patches for Improved Masked Image Modeling (arXiv 2502.08769).

  python -m maskmim.train --config configs/capi.py --workdir runs/capi
  python -m maskmim.train --config configs/capi.py:steps=100000 --workdir runs/capi_short

After the colon: variant=L/14 | B/14 | ..., steps=N of 16,384 images (all warm-ups are the first
tenth of them), tiny (a few small steps on the embedded photographs).

The encoder sees one rectangle of 90 of 256 patches, shifted around the picture; an average of it
sees the whole picture. A linear layer on the average's tokens, with a loss of its own, learns
16,384 prototypes; Sinkhorn balances their assignments over the batch at each position. A predictor
of cross-attention alone gives the assignments of 8 of the 166 hidden patches. The recipe is the
official default_pretrain_config.yaml: AdamW (0.9, 0.95), rate 1e-3, 5e-4 for prototypes, a fifth of
the rate for the patch embedding, weight decay 0.1, a tenth of it on norms and (torch's default) on
prototypes, none on biases; rates rise for 50,000 steps and follow 80 % of a cosine; the average
keeps 1, 0.999 after the rise, then nearly 1 again, along the same curve. Rotary frequencies are
fixed, there parameters with a rate of 0.

Differences: data is ImageNet-1k, the one of their four sets that tensorflow-datasets prepares; an
epoch is every image exactly once. Dropped paths, rotary angles and the embedding's bias differ as
models.rotary_vit says. Assignments take 8.6 GB in float32 for 512 images on a device. Micro-batches
change the balance (see clustering.prototypes), a mesh does not.

Published results to expect (L/14, 500,000 steps, attentive probe on ImageNet-1k top-1 / ADE20K k-NN
mIoU, official README; not yet reproduced by us): ImageNet-1k 82.9 / 29.2, ImageNet-22k 83.6 / 29.7,
LVD-142M 83.8 / 32.1, Places205 79.2 / 35.2. Neither probe is one of ours.
"""

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base
from maskmim.config.load import add
from maskmim.config.python_file import parse_argument
from maskmim.config.recipes import mae_imagenet, tiny
from maskmim.imagenet import TRAIN_IMAGES

SYSTEMS = (64,)

BATCH = 16_384
RISE = 0.1  # the share of the training in which rates rise and the average starts to move


def get_config(arg: str = "") -> ConfigDict:
    """The config for what stands after the colon."""
    choice = parse_argument(arg, variant="L/14", steps=500_000, tiny=False)
    config = base()
    if choice["tiny"]:
        tiny(config)
        compose(config, clusters=32, registers=4, depth=2)
    else:
        mae_imagenet(config, choice["variant"], choice["steps"] * BATCH / TRAIN_IMAGES)
        config.train.batch_size = BATCH
        config.data.augment.scale = (0.6, 1.0)
        compose(config, clusters=16_384, registers=16, depth=12)
        config.model.dtype = "bfloat16"
    inverse = brick("maskmim.masks.blocks.inverse", ratio=0.65)
    config.mask = brick("maskmim.masks.roles.partly_predicted", sampler=inverse, share=0.05)
    config.optim = brick(
        "maskmim.optim.adamw_by_path",
        lr=1e-3,
        lr_per=0,
        weight_decay=0.1,
        rates=(("encoder/embed/", 0.2), ("^clusters/", 0.5)),
        decays=(("^clusters/", 0.1), ("norm[12]/", 0.1), ("bias$", 0.0)),
    )
    warmup = RISE * config.train.epochs
    config.schedule = brick(
        "maskmim.schedules.truncated_cosine.learning_rate", warmup_epochs=warmup
    )
    return config


def compose(config: ConfigDict, *, clusters: int, registers: int, depth: int) -> None:
    """The network of the size that the recipe chose, both teachers and both objectives."""
    config.method = "maskmim.methods.latent_clustering.latent_clustering"
    config.model = brick(
        "maskmim.models.rotary_vit.vit_rotary",
        variant=config.model.variant,
        patch=config.model.patch,
        registers=registers,
        decoder_depth=depth,
        heads={"clusters": clusters},
    )
    average = brick(
        "maskmim.teachers.average.average",
        find=brick("maskmim.teachers.features.last_tokens"),
        momentum=brick("maskmim.schedules.truncated_cosine.momentum", least=0.999, warmup=RISE),
        parts=("encoder",),
    )
    add(
        config,
        average=average,
        clusters=brick("maskmim.teachers.clusters.prototypes", clusters=clusters),
    )
    config.objectives = {
        "student": brick(
            "maskmim.objectives.match",
            head="clusters",
            target=brick("maskmim.targets.clusters.assigned"),
            loss=brick("maskmim.losses.soft_cross_entropy", temperature=0.12),
        ),
        "clusters": brick("maskmim.objectives.fit", temperature=0.12),
    }
