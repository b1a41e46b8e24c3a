"""MaskFeat on video (arXiv 2112.09133, section 4): MViTv2 predicts HOG of hidden cubes of clips.

  python -m maskmim.train --config maskfeat_video:path=/data/k400/train --workdir runs/s

After the colon: path=DIR (videos, searched with all its subfolders); test=DIR (then the first level
of subfolders of both names classes, and a linear probe and kNN run at the end); variant=S | L;
epochs=N (0: the published number, S 300, L 800); tiny (a few small steps on synthetic clips of the
embedded photographs). MaskFeat for images is configs/maskfeat.py.

Clips of 16 frames, every 4th of the video. 157 of 392 cubes of 2 x 32 x 32 pixels are hidden in
blocks of space over random windows of time; every token enters, hidden ones as a mask embedding
behind the stem; a linear layer predicts the HOG of the first frame of each of the 628 hidden cubes
of 2 x 16 x 16 pixels, 108 values, of the normalised clip; the loss is the mean squared error.
The recipe is that of k400_MVITv2_S_16x4_MaskFeat_PT.yaml and its L: AdamW (0.9, 0.999), weight
decay 0.05 on all but biases and norms, gradients clipped at norm 0.02, 1e-4 per 32 clips, 10 epochs
of warm-up, cosine to 1 %, crops of 50 to 100 % and flips, statistics 0.45 and 0.225.

Differences: the batch size is 512 (the YAML has 32, for one machine, and scales the rate by
machines); the warm-up starts at 0 instead of 1 % of the peak; exactly 157 cubes are hidden instead
of up to 157, see maskmim.masks.blocks.cube_blocks; bfloat16 instead of float32 (HOG and loss are
float32 here too). See also maskmim/models/mvit.py.

Published results to expect (Kinetics-400 top-1 after fine-tuning; not yet reproduced by us): MViT-S
82.2, MViT-L 84.3 at 16 x 4 (official README of projects/maskfeat); MViT-L 86.7 at 312 pixels and 40
frames (paper).
"""

from ml_collections import ConfigDict

from maskmim import modalities
from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.data import clip_transforms
from maskmim.losses import squared_error
from maskmim.masks import coarse_cubes, roles
from maskmim.models import mvit
from maskmim.models.layers.compute import compute
from maskmim.objectives import match
from maskmim.optim import adamw
from maskmim.targets import hog_clips

SYSTEMS = (31,)

EPOCHS = {"S": 300.0, "L": 800.0}
NO_DECAY = (r"(^|/)(bias|scale)$",)


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, path="", test="", variant="S", epochs=0.0, tiny=False)
    config = base()
    config.input.stream = "video"
    config.input.kind = brick(modalities.clip)
    config.input.mean = (0.45, 0.45, 0.45)
    config.input.std = (0.225, 0.225, 0.225)
    config.mask = brick(roles.in_place, sampler=brick(coarse_cubes.cubes, ratio=0.4))
    config.objectives = {
        "hog": brick(
            match,
            head="hog",
            target=brick(hog_clips.hog_cubes, bins=9, cell=8),
            loss=brick(squared_error),
        )
    }
    config.data.augment = brick(clip_transforms.random_resized_crop_flip, scale=(0.5, 1.0))
    config.evals.transform = brick(clip_transforms.centre_crop)
    config.mesh.rules = public_path(mvit.sharding_rules)
    if choice["tiny"]:
        tiny(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.video_data(config, choice["path"], choice["test"])
    return config


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on Kinetics-400."""
    config.input.size = (16, 224, 224)
    config.model = brick(
        mvit.mvit_in_place,
        variant=variant,
        heads={"hog": 108},  # 3 channels, 9 bins, 2 x 2 cells of 8 pixels.
        compute=brick(compute, dtype="bfloat16"),
    )
    recipes.clip_decoding(config, frames=16, stride=4)
    config.train.epochs = epochs or EPOCHS.get(variant, 300.0)
    config.train.batch_size = 512
    recipes.adamw_cosine(
        config,
        lr=1e-4,
        lr_per=32,
        no_decay=NO_DECAY,
        clip_norm=0.02,
        warmup_epochs=recipes.warmup(config.train.epochs, 10.0),
        final=0.01,
    )


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model on synthetic clips."""
    config.input.size = (4, 32, 32)
    config.model = brick(
        mvit.mvit_in_place,
        variant="nano",
        heads={"hog": 27},  # One cell of 8 pixels.
    )
    recipes.tiny_videos(config)
    recipes.clip_decoding(config, frames=4, stride=1)
    recipes.tiny_run(config)
    config.optim = brick(adamw, no_decay=NO_DECAY)
    recipes.tiny_schedule(config)
