"""UTA: Unmasked Token Alignment (arXiv 2405.19009), on ImageNet-1k.

  python -m maskmim.train --config uta --workdir runs/uta
  python -m maskmim.train --config uta:variant=L/14,teacher=clip_l --workdir runs/uta_l
  python -m maskmim.train --config uta:small,run=runs/mae_small --workdir runs/uta_small
  python -m maskmim.train --config uta:small,run=runs/pair,call=picture --workdir runs/uta_pair

After the colon: teacher=clip | clip_l (files, see below); run=RUN (a run on the same grid of tokens
with a class token, in place of the file), call=NAME (a function of this run that maps its tokens:
picture of configs/pair.py, to where texts lie); variant=B/16 | L/14 | g/14 (and any of
maskmim.models.vit.variant); ratio=R of hidden patches; epochs=N; shards=DIR (docs/data.md); small
(minutes on a CPU, on the embedded photographs); tiny (a few steps of a very small model on them).

A student, EVA-02's ViT without weights to begin with, sees the half of the patches that lies in
random blocks; the rest is dropped, with no token in its place. A dense layer on its visible tokens
and on its class token learns to point where a fixed CLIP encoder, which sees the whole picture,
points in the space that CLIP's pictures and texts share: the mean of 1 minus the cosine. The layer
is kept: with it, the class token lies where CLIP's texts do, so that they classify pictures without
training on any text.

Files of transformers, to be named by --config.teachers.whole.network.path, which must hold the
projection of pictures: openai/clip-vit-base-patch16 (clip), openai/clip-vit-large-patch14 (clip_l).
CLIP-L/14 sees pictures of 196 pixels for the 14 x 14 tokens of B/16.

Differences: the paper's teacher is EVA-CLIP, whose weights transformers has no model for. The
authors released the student's network and no training code: the network is theirs, with positions
and a class token that are not decayed; the sampler, the tokens of the loss and the cosine are the
paper's. No source that we could read gives the ratio or the recipe, hence ours: half of the patches
hidden, blocks as BEiT's, ImageNet-1k (the paper's data are larger), 224 pixels for every size
(theirs 336 for L and g), 200 epochs, 20 of warm-up, batch size 1024, AdamW (0.9, 0.98), weight
decay 0.05, 1.5e-4 per 256 images to 0 along a cosine, crops of 20 to 100 % and flips, no dropped
paths, the start of the dense layer, all of small and tiny, and their random teachers where no run
is named.

Published results to expect (ImageNet-1k top-1 without training on labels, official README, with
CLIP's text encoder, which is not included; not yet reproduced by us): B 77.0, L 81.4, g 83.9.
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from maskmim.checkpoints.workdir import load_config
from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.parse import ConfigError
from maskmim.losses import cosine
from maskmim.masks import blocks, combine
from maskmim.models.eva_vit import vit_eva
from maskmim.models.frozen_vit import random_vit
from maskmim.models.layers.compute import compute
from maskmim.models.projectors import linear
from maskmim.models.vit import variant as variant_size
from maskmim.objectives import match_visible
from maskmim.targets import features
from maskmim.teachers import frozen, pretrained

SYSTEMS = (103,)

# As no_weight_decay of the released network says.
NO_DECAY = (r"(^|/)(bias|scale|positions|class_token)$",)


class Whole(NamedTuple):
    """A teacher: its network, a brick, and the values of its features."""

    network: ConfigDict
    values: int


TEACHERS = {
    "clip": Whole(
        brick(pretrained.clip, path="clip-vit-base-patch16/model.safetensors", projected=True), 512
    ),
    "clip_l": Whole(
        brick(
            pretrained.clip,
            path="clip-vit-large-patch14/model.safetensors",
            variant="L",
            patch=(14, 14),
            projected=True,
        ),
        768,
    ),
}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        teacher="clip",
        run="",
        call="",
        variant="B/16",
        ratio=0.5,
        epochs=200.0,
        shards="",
        small=False,
        tiny=False,
    )
    whole = recipes.pick_option("teacher", choice["teacher"], TEACHERS)
    config = base()
    smallest = 16
    if choice["tiny"]:
        tiny(config)
        smallest = 2
    elif choice["small"]:
        small(config)
        smallest = 5
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    shown = brick(blocks.beit, ratio=1 - choice["ratio"], smallest=smallest)
    config.mask = brick(combine.complement, sampler=shown)
    if choice["call"] and not choice["run"]:
        raise ConfigError(f"call={choice['call']} is a function of a run: name it by run=RUN")
    if choice["run"]:
        whole = of_run(choice["run"], choice["call"])
    elif choice["tiny"] or choice["small"]:
        variant = config.model.variant
        network = brick(random_vit, variant=variant, patch=config.model.patch)
        whole = Whole(network, variant_size(variant).width)
    align(config, whole)
    config.optim.no_decay = NO_DECAY
    return config


def of_run(workdir: str, call: str) -> Whole:
    """Return a run as the teacher, behind one of its functions where `call` names one."""
    stored = load_config(workdir)
    if not call:
        network = brick(pretrained.run, workdir=workdir)
        return Whole(network, variant_size(stored.model.variant).width)
    if call not in stored.calls:
        known = ", ".join(stored.calls) or "none"
        raise ConfigError(f"call={call}: the run {workdir} has the functions {known}")
    network = brick(pretrained.run, workdir=workdir, call=call)
    return Whole(network, stored.calls[call]["values"])


def align(config: ConfigDict, whole: Whole) -> None:
    """Set the teacher, the layer on visible tokens and the objective."""
    config.teachers = {"whole": brick(frozen.features, network=whole.network, class_token=True)}
    config.calls = {"align": brick(linear, values=whole.values, dtype=config.model.compute.dtype)}
    config.objectives = {
        "align": brick(
            match_visible,
            call="align",
            target=brick(features.features),
            class_target=brick(features.class_feature),
            loss=brick(cosine),
        )
    }


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the network, and our recipe on ImageNet-1k."""
    config.model = brick(
        vit_eva, **recipes.vit_size(variant), compute=brick(compute, dtype="bfloat16")
    )
    config.train.epochs = epochs
    config.train.batch_size = 1024
    recipes.adamw_cosine(
        config, lr=1.5e-4, lr_per=256, b2=0.98, warmup_epochs=recipes.warmup(epochs, 20.0)
    )


def small(config: ConfigDict) -> None:
    """Set minutes of a small model on the embedded photographs; sizes and rates are ours."""
    recipes.small_model(config, brick(vit_eva, **recipes.SMALL_ENCODER))


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_model(config, brick(vit_eva, **recipes.TINY_ENCODER))
