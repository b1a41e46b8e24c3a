"""MR-MAE: Mimic before Reconstruct (arXiv 2303.05475), ImageNet-1k.

  python -m maskmim.train --config mr_mae --workdir runs/mr_mae
  python -m maskmim.train --config mr_mae:model=vit,teacher=dino --workdir runs/mr_mae_vit
  python -m maskmim.train --config mr_mae:small,run=runs/mae_small --workdir runs/mr_mae_small

After the colon: model=convmae | vit (MCMAE's encoder or MAE's); teacher=clip | dino (files, see
below); run=RUN (a run on the same grid of tokens in place of the file); mask=low | sampled | random
(the most attended patches stay visible; patches stay in proportion to attention; any); variant=B,
or widths x depths x heads of ConvMAE, and of vit B/16 and any of maskmim.models.vit.variant;
epochs=N; shards=DIR (docs/data.md); small (minutes on a CPU, on the embedded photographs); tiny (a
few steps of a very small model on them).

A masked autoencoder with two losses on two sets of tokens that do not meet: of the 25 % visible
patches the encoder's output predicts, by a dense layer and before any decoder, what a fixed teacher
makes of them in the whole picture (squared error); of the 75 % hidden ones the decoder predicts
pixels. The patches that the teacher's class token attends to most stay visible. With ConvMAE's
encoder its three stages are summed first (maskmim/models/mr_mae.py).

Files of transformers, to be named by --config.teachers.whole.network.path: openai/
clip-vit-base-patch16 (clip), facebook/dino-vitb16 (dino).

No code is public: the repository that the abstract names, Alpha-VL/ConvMAE, has checkpoints of it
alone. From the abstract and that repository's README: both losses and their sets, 75 % hidden, the
teachers, 400 epochs. From our catalogue, which recalls the paper: what stays visible, and that
layers are fused. As MCMAE's, hence configs/convmae.py's: batch size 3072, 1.5e-4 per 256
images, 40 epochs of warm-up, cosine to 0, AdamW (0.9, 0.95), weight decay 0.05, pixels normalised
per patch, the decoder, crops of 20 to 100 % and flips. Without a source, hence ours: the weight 1
of the features; that these are the teacher's last output, each standardised; the dense layer; the
attention of the last block, averaged over heads; of vit that its output alone is compared, where
the paper fuses several layers; all sizes and rates of small and tiny, and their random teachers
where none is named.

Published results to expect (ImageNet-1k top-1 after fine-tuning; not yet reproduced by us): with
MCMAE B after 400 epochs 85.8 (abstract), after 200 epochs 85.7 (README); MAE's B/16 83.6.
"""

from ml_collections import ConfigDict

from maskmim.checkpoints.workdir import load_config
from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.config.defaults import norm_pix_objective
from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD
from maskmim.losses import squared_error
from maskmim.masks import attention, uniform
from maskmim.models import convmae
from maskmim.models.frozen_vit import random_vit
from maskmim.models.layers.compute import compute
from maskmim.models.masked_vit import vit_mae
from maskmim.models.mr_mae import mimicking_convmae
from maskmim.models.projectors import linear
from maskmim.models.vit import variant as variant_size
from maskmim.objectives import match_visible, match_visible_head
from maskmim.targets import features
from maskmim.teachers import frozen, pretrained

SYSTEMS = (25,)

MODELS = {"convmae": mimicking_convmae, "vit": vit_mae}
MASKS = {"low": attention.low, "sampled": attention.sampled, "random": uniform.random}
TEACHERS = {
    "clip": brick(pretrained.clip, path="clip-vit-base-patch16/model.safetensors"),
    "dino": brick(
        pretrained.vit, path="dino-vitb16/model.safetensors", mean=IMAGENET_MEAN, std=IMAGENET_STD
    ),
}
WIDTH = 768  # of both
# Sizes of `small` and `tiny`: the networks of `convmae`, with the tokens of the ViT's.
SMALL = {"variant": "24-48-128x1-1-4x4", "patch": (2, 2)}
TINY = {"variant": "8-8-16x1-1-1x2", "patch": (2, 2)}
TINY_DECODER = {"decoder_depth": 1, "decoder_width": 16, "decoder_heads": 2}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        model="convmae",
        teacher="clip",
        run="",
        mask="low",
        variant="B",
        epochs=400.0,
        shards="",
        small=False,
        tiny=False,
    )
    recipes.pick_option("model", choice["model"], MODELS)
    network = recipes.pick_option("teacher", choice["teacher"], TEACHERS)
    config, width = base(), WIDTH
    config.mask = brick(recipes.pick_option("mask", choice["mask"], MASKS), ratio=0.75)
    if choice["tiny"]:
        network, width = tiny(config, choice["model"])
    elif choice["small"]:
        network, width = small(config, choice["model"])
    else:
        published(config, choice["model"], choice["variant"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    if choice["run"]:
        network = brick(pretrained.run, workdir=choice["run"])
        width = variant_size(load_config(choice["run"]).model.variant).width
    mimic(config, choice["model"], network, width)
    return config


def mimic(config: ConfigDict, model: str, network: ConfigDict, width: int) -> None:
    """Set the teacher and both losses; width: of the teacher's features."""
    config.teachers = {
        "whole": brick(frozen.features, network=network, attention=True, normalise=True)
    }
    pair = {"target": brick(features.features), "loss": brick(squared_error)}
    if model == "convmae":
        config.mesh.rules = public_path(convmae.rules)
        config.model.features = width
        term = brick(match_visible_head, head="mimic", **pair)
    else:
        config.calls = {"mimic": brick(linear, values=width, dtype=config.model.compute.dtype)}
        term = brick(match_visible, call="mimic", **pair)
    config.objectives = {"pixels": norm_pix_objective(), "mimic": term}


def published(config: ConfigDict, model: str, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    size = {"variant": variant} if model == "convmae" else recipes.vit_size(variant)
    config.model = brick(MODELS[model], **size, compute=brick(compute, dtype="bfloat16"))
    recipes.mae_training(config, epochs, batch_size=3072)


def small(config: ConfigDict, model: str) -> tuple[ConfigDict, int]:
    """Set minutes of a small model on the embedded photographs; return a random teacher."""
    config.input.size = (64, 64)
    size = recipes.SMALL_VIT if model == "vit" else {**recipes.SMALL_VIT, **SMALL}
    config.model = brick(MODELS[model], **size)
    recipes.small_training(config)
    return random_teacher(recipes.SMALL_VIT["variant"])


def tiny(config: ConfigDict, model: str) -> tuple[ConfigDict, int]:
    """Set a few steps of a very small model; return a random teacher."""
    recipes.tiny_images(config)
    size = {"variant": "nano", "patch": (8, 8)} if model == "vit" else TINY
    config.model = brick(MODELS[model], **size, **TINY_DECODER)
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)
    return random_teacher("nano")


def random_teacher(variant: str) -> tuple[ConfigDict, int]:
    """Return a network of random weights on patches of 8 pixels, and its width."""
    return brick(random_vit, variant=variant, patch=(8, 8)), variant_size(variant).width
