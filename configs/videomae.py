"""VideoMAE (arXiv 2203.12602), and VideoMAE V2's dual masking (arXiv 2303.16727).

  python -m maskmim.train --config configs/videomae.py:path=/data/k400/train --workdir runs/videomae
  python -m maskmim.train --config configs/videomae.py:dual,variant=g,path=/data/videos --workdir v2

After the colon: path=DIR (videos, searched with all its subfolders); test=DIR (then the first level
of subfolders of both names classes, and a linear probe and kNN come at the end); dual (V2);
variant=S | B | L | H (dual: B | L | H | g); epochs=N (0: the published number); tiny (a few small
steps on synthetic clips of the embedded photographs).

Clips of 16 frames, every 4th of the video, in cubes of 2 x 16 x 16 pixels (V2's g: 2 x 14 x 14). A
tube hides the same 176 of 196 places at all times; the encoder sees 160 of 1568 tokens without a
class token. The target is pixels in [0, 1], normalised in each cube and channel, the loss the mean
squared error on hidden cubes. With dual masking the decoder gets half of all tokens, in running
cells, and the loss counts those of them that the encoder did not see.
Recipes are those of the scripts, for Kinetics-400 and V2's UnlabeledHybrid: AdamW (0.9, 0.95),
weight decay 0.05, warm-up from 0, cosine to 1e-5 before scaling, four scales of crops, no flips.
Something-Something V2: --config.data.decode.stride=2 (and evals), 2400 epochs. UCF101:
--config.mask.ratio=0.75 --config.optim.lr=3e-4 --config.train.batch_size=192, 3200 epochs.

Differences: V2 reads each video once for 4 crops, whose masks and crops differ; here a batch as
large holds as many videos, each with one crop, and an epoch of theirs is 4 of ours (epochs, warm-up
and rate are converted). Its later stages, supervised on Kinetics-710, are not here. bfloat16, there
float16. See also maskmim/models/videomae.py, data/clips.py and data/clip_transforms.py.

Published results to expect (top-1 after fine-tuning; not yet reproduced by us):
  VideoMAE, Kinetics-400: S 79.0, B 81.5, L 85.2, H 86.6 (1600 epochs); Something-Something V2: B
  70.8 (2400 epochs); UCF101: B 91.3 (official MODEL_ZOO.md).
  V2: g 90.0 on Kinetics-400, 77.0 on Something-Something V2 (paper, after all its stages).
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base
from maskmim.config.parse import ConfigError
from maskmim.config.python_file import parse_argument
from maskmim.config.recipes import adamw_cosine, clips, matched, pans, tiny, videos

SYSTEMS = (21, 15)


class Recipe(NamedTuple):
    """What differs between the official scripts; clips of a batch, rate per `lr_per` of them."""

    decoder: str
    batch: int
    lr: float = 1.5e-4
    lr_per: int = 256
    epochs: float = 1600.0
    warmup: float = 40.0
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
    """The config for what stands after the colon."""
    choice = parse_argument(arg, path="", test="", dual=False, variant="B", epochs=0.0, tiny=False)
    recipes = DUAL if choice["dual"] else VIDEOMAE
    if choice["variant"] not in recipes:
        raise ConfigError(f"variant={choice['variant']}: use one of {', '.join(recipes)}")
    config = base()
    config.input.stream = "video"
    config.data.augment = brick("maskmim.data.clip_transforms.multi_scale_crop")
    config.evals.transform = brick("maskmim.data.clip_transforms.centre_crop")
    if choice["tiny"]:
        small(config)
    else:
        published(config, recipes[choice["variant"]], choice["variant"], choice["epochs"])
        videos(config, choice["path"], choice["test"])
    config.optim.no_decay = (r"(^|/)(bias|scale|mask_token)$",)
    sampler = "running_cell.dual" if choice["dual"] else "video.tube"
    config.mask = brick(f"maskmim.masks.{sampler}", ratio=0.9)
    cubes = matched("pixels", "targets.cubes.normalised_cubes", "losses.squared_error")
    config.objectives = {"pixels": cubes}
    return config


def published(config: ConfigDict, recipe: Recipe, variant: str, epochs: float) -> None:
    """Sizes and optimisation of the official scripts."""
    config.input.size = (16, 224, 224)
    side = 14 if variant == "g" else 16
    config.model = brick(
        "maskmim.models.videomae.vit_videomae",
        variant=variant,
        patch=(2, side, side),
        decoder=recipe.decoder,
        remat="full" if variant == "g" else "none",
        dtype="bfloat16",
    )
    config.train.epochs = epochs or recipe.epochs
    adamw_cosine(
        config,
        batch_size=recipe.batch,
        lr=recipe.lr,
        lr_per=recipe.lr_per,
        b2=0.95,
        clip_norm=recipe.clip_norm,
        warmup_epochs=recipe.warmup * min(1.0, config.train.epochs / recipe.epochs),
        final=1e-5 / recipe.lr,
    )
    clips(config, frames=16, stride=4)


def small(config: ConfigDict) -> None:
    """A very small model on synthetic clips."""
    tiny(config)
    config.input.size = (8, 32, 32)
    config.model = brick(
        "maskmim.models.videomae.vit_videomae", variant="nano", patch=(2, 8, 8), decoder="1x32x2"
    )
    pans(config)
    clips(config, frames=8, stride=1)
