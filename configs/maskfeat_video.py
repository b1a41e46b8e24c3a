"""MaskFeat on video (arXiv 2112.09133, section 4): MViTv2 predicts HOG of hidden cubes of clips.

  python -m maskmim.train --config configs/maskfeat_video.py:path=/data/k400/train --workdir runs/s

After the colon: path=DIR (videos, searched with all its subfolders); test=DIR (then the first level
of subfolders of both names classes, and a linear probe and kNN come at the end); variant=S | L;
epochs=N (0: the published number, S 300, L 800); tiny (a few small steps on synthetic clips of the
embedded photographs). MaskFeat for images is configs/maskfeat.py.

Clips of 16 frames, every 4th of the video. 157 of 392 cubes of 2 x 32 x 32 pixels are hidden in
blocks of space over random windows of time; every token enters, hidden ones as a mask embedding
behind the stem; a linear layer predicts the HOG of the first frame of each of the 628 hidden cubes
of 2 x 16 x 16 pixels, 108 values, of the normalised clip; the loss is the mean squared error.
The recipe is that of k400_MVITv2_S_16x4_MaskFeat_PT.yaml and its L: AdamW (0.9, 0.999), weight
decay 0.05 on all but biases and norms, gradients clipped at norm 0.02, 1e-4 per 32 clips, 10 epochs
of warm-up, cosine to 1 %, crops of 50 to 100 % and flips, statistics 0.45 and 0.225.

Differences: the batch is 512 (the YAML names 32, the batch of one machine, and scales the rate by
machines); the warm-up starts at 0, there at 1 % of the peak; exactly 157 cubes are hidden, there up
to 157, see maskmim.masks.blocks.cube_blocks; bfloat16, there float32 (HOG and loss are float32 here
too). See also maskmim/models/mvit.py.

Published results to expect (Kinetics-400 top-1 after fine-tuning; not yet reproduced by us): MViT-S
82.2, MViT-L 84.3 at 16 x 4 (official README of projects/maskfeat); MViT-L 86.7 at 312 pixels and 40
frames (paper).
"""

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base
from maskmim.config.python_file import parse_argument
from maskmim.config.recipes import adamw_cosine, clips, pans, tiny, videos

SYSTEMS = (31,)

EPOCHS = {"S": 300.0, "L": 800.0}
MEAN, STD = (0.45,) * 3, (0.225,) * 3


def get_config(arg: str = "") -> ConfigDict:
    """The config for what stands after the colon."""
    choice = parse_argument(arg, path="", test="", variant="S", epochs=0.0, tiny=False)
    config = base()
    config.input.stream = "video"
    if choice["tiny"]:
        small(config)
        size, values = {"variant": "nano"}, 27  # One cell of 8 pixels in a cube.
    else:
        published(config, choice["epochs"] or EPOCHS.get(choice["variant"], 300.0))
        videos(config, choice["path"], choice["test"])
        size, values = {"variant": choice["variant"], "dtype": "bfloat16"}, 108
    config.input.mean, config.input.std = MEAN, STD
    config.model = brick(
        "maskmim.models.mvit.mvit_in_place", heads=ConfigDict({"hog": values}), **size
    )
    config.mesh.rules = "maskmim.models.mvit.sharding_rules"
    config.optim.no_decay = (r"(^|/)(bias|scale)$",)
    config.data.augment = brick(
        "maskmim.data.clip_transforms.random_resized_crop_flip", scale=(0.5, 1.0)
    )
    config.evals.transform = brick("maskmim.data.clip_transforms.centre_crop")
    cubes = brick("maskmim.masks.coarse_cubes.cubes", ratio=0.4)
    config.mask = brick("maskmim.masks.roles.in_place", sampler=cubes)
    config.objectives = {
        "hog": brick(
            "maskmim.objectives.match",
            head="hog",
            target=brick("maskmim.targets.hog_clips.hog_cubes", bins=9, cell=8),
            loss=brick("maskmim.losses.squared_error"),
        )
    }
    return config


def published(config: ConfigDict, epochs: float) -> None:
    """The recipe on Kinetics-400."""
    config.input.size = (16, 224, 224)
    config.train.epochs = epochs
    schedule = {"warmup_epochs": 10.0, "final": 0.01}
    adamw_cosine(config, batch_size=512, lr=1e-4, lr_per=32, clip_norm=0.02, **schedule)
    clips(config, frames=16, stride=4)


def small(config: ConfigDict) -> None:
    """A very small recipe on synthetic clips."""
    tiny(config)
    config.input.size = (4, 32, 32)
    pans(config)
    clips(config, frames=4, stride=1)
