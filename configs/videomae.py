"""VideoMAE (arXiv 2203.12602), and VideoMAE V2's dual masking (arXiv 2303.16727).

  python -m maskmim.train --config videomae:path=/data/k400/train --workdir runs/videomae
  python -m maskmim.train --config videomae:dual,variant=g,path=/data/videos --workdir v2

After the colon: path=DIR (videos, searched with all its subfolders); test=DIR (then the first level
of subfolders of both names classes, and a linear probe and kNN run at the end); dual (V2);
variant=S | B | L | H (dual: B | L | H | g); epochs=N (0: the published number); tiny (a few small
steps on synthetic clips of the embedded photographs).

Clips of 16 frames, every 4th of the video, in cubes of 2 x 16 x 16 pixels (V2's g: 2 x 14 x 14). A
tube hides the same 176 of 196 positions at all times; the encoder sees 160 of 1568 tokens without a
class token. The target is pixels in [0, 1], normalised in each cube and channel, the loss the mean
squared error on hidden cubes. With dual masking the decoder gets half of all tokens, in running
cells, and the loss counts those of them that the encoder did not see.
Recipes are those of the scripts, for Kinetics-400 and V2's UnlabeledHybrid: AdamW (0.9, 0.95),
weight decay 0.05, warm-up from 0, cosine to 1e-5 before scaling, four scales of crops, no flips.
Something-Something V2: --config.data.decode.stride=2 --config.evals.decode.stride=2 (another one
in evaluations is refused), 2400 epochs. UCF101:
--config.mask.ratio=0.75 --config.optim.lr=3e-4 --config.train.batch_size=192, 3200 epochs.

Differences: V2 reads each video once for 4 crops, whose masks and crops differ; here a batch of
the same size holds as many videos, each with one crop, and one of its epochs is 4 of ours (epochs,
warm-up and learning rate are converted). Its later stages, supervised on Kinetics-710, are not
included. bfloat16 instead of float16. See also maskmim/models/videomae.py, data/clips.py and
data/clip_transforms.py.

Published results to expect (top-1 after fine-tuning; not yet reproduced by us):
  VideoMAE, Kinetics-400: S 79.0, B 81.5, L 85.2, H 86.6 (1600 epochs); Something-Something V2: B
  70.8 (2400 epochs); UCF101: B 91.3 (official MODEL_ZOO.md).
  V2: g 90.0 on Kinetics-400, 77.0 on Something-Something V2 (paper, after all its stages).
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config import recipes_videomae as shared
from maskmim.masks import running_cell, video
from maskmim.models.layers.compute import compute
from maskmim.models.videomae import vit_videomae

SYSTEMS = (21, 15)


class Recipe(NamedTuple):
    """What differs between the official scripts; the learning rate counts per `lr_per` clips."""

    decoder: str
    batch_size: int
    lr: float = 1.5e-4
    lr_per: int = 256
    epochs: float = 1600.0
    warmup_epochs: float = 40.0
    clip_norm: float = float("inf")


VIDEOMAE = {
    "S": Recipe("4x192x3", 1024),
    "B": Recipe("4x384x6", 2048),
    "L": Recipe("12x512x8", 512),
    "H": Recipe("12x640x8", 1024),
}
DUAL = {
    "B": Recipe("4x384x6", 4096, 1e-3, 1024, 800.0, 80.0),
    "L": Recipe("4x512x8", 6144, 1e-3, 1024, 1200.0, 120.0),
    "H": Recipe("4x512x8", 8192, 1e-3, 1024, 1200.0, 120.0),
    "g": Recipe("4x512x8x2234", 8192, 6e-4, 1024, 1200.0, 120.0, 0.02),
}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, path="", test="", dual=False, variant="B", epochs=0.0, tiny=False)
    giant = choice["variant"].startswith("g")
    variant = choice["variant"].removesuffix("/14" if giant else "/16")
    recipe = recipes.pick_option("variant", variant, DUAL if choice["dual"] else VIDEOMAE)
    config = base()
    shared.clips(config)
    config.mask = brick(running_cell.dual if choice["dual"] else video.tube, ratio=0.9)
    shared.crops(config)
    if choice["tiny"]:
        tiny(config)
    else:
        published(config, recipe, variant, choice["epochs"])
        recipes.video_data(config, choice["path"], choice["test"])
    return config


def published(config: ConfigDict, recipe: Recipe, variant: str, epochs: float) -> None:
    """Set sizes and optimisation of the official scripts."""
    config.input.size = (16, 224, 224)
    giant = variant == "g"
    side = 14 if giant else 16
    config.model = brick(
        vit_videomae,
        variant=variant,
        patch=(2, side, side),
        decoder=recipe.decoder,
        compute=brick(compute, remat="full" if giant else "none", dtype="bfloat16"),
    )
    recipes.clip_decoding(config, frames=16, stride=4)
    config.train.epochs = epochs or recipe.epochs
    config.train.batch_size = recipe.batch_size
    recipes.adamw_cosine(
        config,
        lr=recipe.lr,
        lr_per=recipe.lr_per,
        b2=0.95,
        no_decay=shared.NO_DECAY,
        clip_norm=recipe.clip_norm,
        warmup_epochs=recipe.warmup_epochs * min(1.0, config.train.epochs / recipe.epochs),
        final=1e-5 / recipe.lr,
    )


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model on synthetic clips."""
    config.input.size = (8, 32, 32)
    recipes.tiny_videos(config)
    recipes.clip_decoding(config, frames=8, stride=1)
    shared.tiny_model(config)
