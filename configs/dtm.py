"""DTM: Morphing Tokens Draw Strong Masked Image Models (arXiv 2401.00254), ImageNet-1k.

  python -m maskmim.train --config dtm --workdir runs/dtm
  python -m maskmim.train --config dtm:loss=cosine --workdir runs/dtm_cosine
  python -m maskmim.train --config dtm:small,teacher=runs/mae_small --workdir runs/dtm_small

After the colon: teacher=RUN (a run on the same grid of tokens in place of CLIP's file); loss=
smooth_l1 | cosine; variant=B/16 | S/16 | L/16 (and any of maskmim.models.vit.variant); epochs=N;
shards=DIR (docs/data.md); small (minutes on a CPU, on the embedded photographs); tiny (a few steps
of a very small model on them).

BEiT's ViT, which sees 75 of 196 patches as mask embeddings, predicts with one linear layer what a
fixed teacher makes of every patch of the whole picture, hidden or visible. Neighbours have targets
that differ by chance, so prediction and target are first replaced by their means over groups of
similar targets: ToMe's bipartite matching removes a number of tokens drawn from 0 to 196 in 1 to 14
rounds, both drawn anew for each batch, twice (maskmim/objectives/morphing.py). The loss is smooth
L1 with beta 2.

The teacher is CLIP ViT-B/16 of transformers (openai/clip-vit-base-patch16) with its projection to
512 values, by default clip-vit-base-patch16/model.safetensors; another place by
--config.teachers.whole.network.path: it gets pictures normalised as the student's, not as CLIP's
own, as officially.

The recipe is that of the official training page, Training.md: learning rate 1.5e-3, gradients
clipped at norm 3, LayerScale from 0.1 (L: 1e-5), 75 patches hidden in blocks, colours changed by up
to 40 %, and of the defaults of run_pretrain_dtm.py: 300 epochs, weight decay 0.05 (not of the class
token, biases, norms and LayerScale), drop path 0.1, cosine to 1e-5, and of the loss. That command
leaves the following to variables of a shell, so that they are BEiT v2's here, on whose code it is
built: batch size 2048 (for which the rate holds: it is scaled by the root of the batch size), beta
2 of 0.98, 10 epochs of warm-up, crops of 20 to 100 %.

Differences: one table of relative position biases for all blocks, officially one in each block
besides; weights are drawn as SimMIM's, see maskmim/models/relative_vit.py; the paper splits tokens
at random before they are matched, the official code and this one by even and odd places, where the
first patch merges into none; bfloat16 instead of float16; masks have exactly 75 tokens; an epoch is
every image exactly once. Without a source, hence ours: all sizes and rates of small and tiny, and
their random teachers where none is named.

Published results to expect: none in the official repository, whose table was not to be had here;
the abstract says that it surpasses complex methods on ImageNet-1k and ADE20K.
"""

from ml_collections import ConfigDict

from maskmim.checkpoints.workdir import load_config
from maskmim.config import base, brick, parse_argument, recipes
from maskmim.data import jittered_crop
from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD
from maskmim.losses import cosine, smooth_l1
from maskmim.masks import blocks, roles
from maskmim.models.frozen_vit import random_vit
from maskmim.models.layers.compute import compute
from maskmim.models.relative_vit import relative_vit_in_place
from maskmim.models.vit import variant as variant_size
from maskmim.objectives import morph
from maskmim.targets import features
from maskmim.teachers import frozen, pretrained

SYSTEMS = (37,)

FILE, PROJECTED = "clip-vit-base-patch16/model.safetensors", 512
# LayerScale is exempt by its name, scale; mask token and relative biases are decayed.
NO_DECAY = (r"(^|/)(bias|scale|class_token)$",)
HEADS = {"features": PROJECTED}  # of another teacher its width, see `teach`
LOSSES = {"smooth_l1": brick(smooth_l1, beta=2.0), "cosine": brick(cosine)}
LAYER_SCALE = {"L": 1e-5}  # others: 0.1


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        teacher="",
        loss="smooth_l1",
        variant="B/16",
        epochs=300.0,
        shards="",
        small=False,
        tiny=False,
    )
    config = base()
    loss = recipes.pick_option("loss", choice["loss"], LOSSES)
    config.objectives = {
        "features": brick(morph, head="features", target=brick(features.features), loss=loss)
    }
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    config.optim.no_decay = NO_DECAY
    teach(config, choice["teacher"], random=choice["tiny"] or choice["small"])
    return config


def teach(config: ConfigDict, run: str, *, random: bool) -> None:
    """Set the teacher and the width of the head: a run, or a random network or CLIP's file."""
    if run:
        width = variant_size(load_config(run).model.variant).width
        network = brick(pretrained.run, workdir=run)
    elif random:
        width = variant_size(config.model.variant).width
        network = brick(random_vit, variant=config.model.variant, patch=config.model.patch)
    else:
        width = PROJECTED
        network = brick(
            pretrained.clip, path=FILE, projected=True, mean=IMAGENET_MEAN, std=IMAGENET_STD
        )
    config.teachers = {"whole": brick(frozen.features, network=network)}
    config.model.heads.features = width


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    size = recipes.vit_size(variant)
    config.model = brick(
        relative_vit_in_place,
        **size,
        heads=HEADS,
        layer_scale=LAYER_SCALE.get(size["variant"], 0.1),
        drop_path=0.1,
        compute=brick(compute, dtype="bfloat16"),
    )
    config.mask = block_mask(smallest=16)
    config.data.augment = brick(jittered_crop.jittered_crop_flip)
    config.train.epochs = epochs
    config.train.batch_size = 2048
    recipes.adamw_cosine(
        config,
        lr=1.5e-3,
        b2=0.98,
        clip_norm=3.0,
        warmup_epochs=recipes.warmup(epochs, 10.0),
        final=1e-5 / 1.5e-3,
    )


def small(config: ConfigDict) -> None:
    """Set minutes of a small model on the embedded photographs; sizes and rates are ours."""
    size = recipes.SMALL_ENCODER
    recipes.small_model(config, brick(relative_vit_in_place, **size, heads=HEADS, drop_path=0.0))
    config.mask = block_mask(smallest=4)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    size = recipes.TINY_ENCODER
    recipes.tiny_model(config, brick(relative_vit_in_place, **size, heads=HEADS, drop_path=0.0))
    config.mask = block_mask(smallest=2)


def block_mask(smallest: int) -> ConfigDict:
    """Return the sampler: blocks of at least `smallest` tokens, in place, all tokens predicted."""
    hidden = brick(roles.in_place, sampler=brick(blocks.beit, ratio=75 / 196, smallest=smallest))
    return brick(roles.all_predicted, sampler=hidden)
