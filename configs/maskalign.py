"""MaskAlign: Stare at What You See (arXiv 2211.08887), without reconstruction, ImageNet-1k.

  python -m maskmim.train --config maskalign --workdir runs/maskalign
  python -m maskmim.train --config maskalign:teacher=dino --workdir runs/maskalign_dino
  python -m maskmim.train --config maskalign:variant=L/16,teacher=clip_l --workdir runs/maskalign_l
  python -m maskmim.train --config maskalign:small,run=runs/mae_small --workdir runs/maskalign_small

After the colon: teacher=clip | clip_l | dino (files, see below); run=RUN (a run on the same grid of
tokens in place of the file); variant=B/16 | L/16 (and any of maskmim.models.vit.variant); epochs=N;
shards=DIR (docs/data.md); small (minutes on a CPU, on the embedded photographs); tiny (a few steps
of a very small model on them).

A student sees 30 % of the patches and predicts what a fixed teacher makes of them in
the whole picture; nothing is filled in and there is no decoder. The visible patches are drawn
without replacement in proportion to the attention of the teacher's class token in its last block.
The last five layers of the teacher, standardised per token, the class token's too, are compared
with learnt mixtures of all blocks of the student, each with a dense layer (models/layer_mix.py), by
smooth L1 times 2. The recipe is that of the official README: batch size 1024, 200 epochs, 20 of
warm-up, 1.5e-4 per 256 images to 1e-5 along a cosine, AdamW (0.9, 0.95), weight decay 0.05 but for
the mixtures, drop path 0.1 (L: 0.2), crops of 20 to 100 % of the picture and flips.

Files of transformers, to be named by --config.teachers.whole.network.path: openai/
clip-vit-base-patch16 (clip), openai/clip-vit-large-patch14 (clip_l), facebook/dino-vitb16 (dino).
CLIP-L/14 sees pictures of 196 pixels, so that it has the grid of the student.

Differences: of five mixtures the official code trains five, and keeps those of the other layers
untrained; pictures and positions of CLIP-L/14 are resized with antialiasing, officially without;
attention of 0 is allowed, see masks/attention.py; there is no norm behind the last block, whose
parameters officially do not learn either; bfloat16 instead of float16; an epoch is every image
exactly once. 58 of 196 patches are visible as in the official code. Where student and teacher have
other depths, mixtures start from equal weights ('sum' there). Without a source, hence ours: all
sizes and rates of small and tiny, their random teachers where none is named, and their number of
layers, 40 % of the teacher's.

Published results to expect (ImageNet-1k top-1 after fine-tuning, official ModelCard.md; not yet
reproduced by us): B/16 with CLIP-B/16 85.4, L/16 with CLIP-B/16 86.5, with CLIP-L/14 87.4.
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from maskmim.checkpoints.workdir import load_config
from maskmim.config import base, brick, parse_argument, recipes
from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD
from maskmim.losses import smooth_l1
from maskmim.masks import attention
from maskmim.models.encoder_only import vit_encoder
from maskmim.models.frozen_vit import random_vit
from maskmim.models.layer_mix import layer_mix
from maskmim.models.layers.compute import compute
from maskmim.models.vit import variant as variant_size
from maskmim.objectives import align_layers
from maskmim.optim.compose import NO_DECAY
from maskmim.teachers import frozen, pretrained

SYSTEMS = (5,)


class Whole(NamedTuple):
    """A teacher: its network, a brick, and the network's variant."""

    network: ConfigDict
    variant: str


TEACHERS = {
    "clip": Whole(brick(pretrained.clip, path="clip-vit-base-patch16/model.safetensors"), "B"),
    "clip_l": Whole(
        brick(
            pretrained.clip,
            path="clip-vit-large-patch14/model.safetensors",
            variant="L",
            patch=(14, 14),
        ),
        "L",
    ),
    "dino": Whole(
        brick(
            pretrained.vit,
            path="dino-vitb16/model.safetensors",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        "B",
    ),
}
DROP_PATH = {"L": 0.2}  # others: 0.1
LAYERS = 5  # of 12 or 24


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        teacher="clip",
        run="",
        variant="B/16",
        epochs=200.0,
        shards="",
        small=False,
        tiny=False,
    )
    whole = recipes.pick_option("teacher", choice["teacher"], TEACHERS)
    config = base()
    config.mask = brick(attention.sampled, ratio=138 / 196)
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    if choice["run"]:
        network = brick(pretrained.run, workdir=choice["run"])
        whole = Whole(network, load_config(choice["run"]).model.variant)
    elif choice["tiny"] or choice["small"]:
        network = brick(random_vit, variant=config.model.variant, patch=config.model.patch)
        whole = Whole(network, config.model.variant)
    align(config, whole)
    return config


def align(config: ConfigDict, whole: Whole) -> None:
    """Set the teacher, the mixtures and the objective."""
    student, teacher = variant_size(config.model.variant), variant_size(whole.variant)
    count = LAYERS if teacher.depth >= 12 else max(1, round(0.4 * teacher.depth))
    layers = tuple(range(teacher.depth - count + 1, teacher.depth + 1))
    config.teachers = {
        "whole": brick(
            frozen.features,
            network=whole.network,
            class_token=True,
            layers=layers,
            attention=True,
            normalise=True,
            epsilon=1e-5,
        )
    }
    config.calls = {
        "align": brick(
            layer_mix,
            depth=student.depth,
            layers=layers,
            values=teacher.width,
            start="same" if student.depth == teacher.depth else "mean",
            dtype=config.model.compute.dtype,
        )
    }
    config.objectives = {
        "layers": brick(align_layers, call="align", loss=brick(smooth_l1), scale=2.0)
    }
    config.optim.no_decay = (*NO_DECAY, r"^align/mix$")


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    size = recipes.vit_size(variant)
    config.model = brick(
        vit_encoder,
        **size,
        drop_path=DROP_PATH.get(size["variant"], 0.1),
        last_norm=False,
        compute=brick(compute, dtype="bfloat16"),
    )
    config.train.epochs = epochs
    config.train.batch_size = 1024
    recipes.adamw_cosine(
        config,
        lr=1.5e-4,
        lr_per=256,
        b2=0.95,
        warmup_epochs=recipes.warmup(epochs, 20.0),
        final=1e-5 / 6e-4,
    )


def small(config: ConfigDict) -> None:
    """Set minutes of a small model on the embedded photographs; sizes and rates are ours."""
    recipes.small_model(config, brick(vit_encoder, **recipes.SMALL_ENCODER, last_norm=False))


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_model(config, brick(vit_encoder, **recipes.TINY_ENCODER, last_norm=False))
