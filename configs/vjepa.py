"""V-JEPA: Revisiting Feature Prediction for Learning Visual Representations from Video.

  python -m maskmim.train --config vjepa:path=/data/videos --workdir runs/vjepa
  python -m maskmim.train --config vjepa:small --workdir runs/vjepa_small

After the colon: path=DIR (videos, searched with all its subfolders); test=DIR (then the first level
of subfolders of both names classes); variant=L | H; epochs=N; small (minutes on a CPU, on synthetic
clips of the embedded photographs); tiny (a few steps of a very small model on them).

arXiv 2404.08471. I-JEPA (configs/ijepa.py) for clips of 16 frames, every 4th of the video, in cubes
of 2 x 16 x 16 pixels. Two masks of each clip, blocks of places at all times: 8 of 15 % of the
places, and 2 of 70 %. For each the encoder sees what is outside, and a predictor with a mask token
of its own predicts what is inside: the layer-normalised features of an EMA, which sees the whole
clip once; the absolute error, a mean of both masks' means. The recipe is that of the official
configs/pretrain/vitl16.yaml (H: vith16.yaml): 90,000 steps of batch size 3072, of which 12,000 are
warm-up, AdamW (0.9, 0.999), rate 2e-4 to 6.25e-4, then a cosine to 1e-6, weight decay 0.04 to 0.4,
momentum 0.998 to 1 along a line, all made for a training a quarter longer, crops of 30 to 100 %,
flips, a predictor of 12 blocks of width 384. Evaluation reads the EMA of the encoder, as published.
There is no outside teacher, so that no file is taken.

Epochs count the videos that there are: 138 are the published steps over the two million videos of
VideoMix2M. Differences: masks, see maskmim/masks/multiblock.py; gradients of encoder and predictor
are officially clipped at norm 10 each after the warm-up, here not; crops have aspects of 3/4 to
4/3, officially 0.75 to 1.35; an epoch is every video exactly once. Without a source, hence ours:
all sizes and rates of small and tiny.

Published results to expect: none known for these settings from the sources at hand; the tables of
the README and the paper are of attentive probes on videos, which maskmim has for pictures.
"""

from ml_collections import ConfigDict

from maskmim import modalities
from maskmim.config import add, base, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.data import clip_transforms
from maskmim.losses import absolute_error
from maskmim.masks import multiblock
from maskmim.masks import views as masks
from maskmim.methods import views
from maskmim.models.jepa import vit_vjepa
from maskmim.models.layers.compute import compute
from maskmim.objectives import match
from maskmim.optim import adamw_dino
from maskmim.schedules import warmup_cosine
from maskmim.targets import features as targets
from maskmim.teachers import average, features, momentum

EPOCHS = 138.0  # 90,000 steps of 3,072 of two million videos
STRETCH = 1.25
# Blocks: their number, their scale, shares of the places that are seen and predicted.
KINDS = {"short": (8, 0.15, 0.22, 0.48), "long": (2, 0.7, 0.06, 0.7)}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg, path="", test="", variant="L", epochs=EPOCHS, small=False, tiny=False
    )
    config = base()
    config.input.stream = "video"
    config.input.kind = brick(modalities.clip)
    config.method = public_path(views.masked_views)
    target = brick(targets.layer_normed_features)
    objective = brick(match, head="features", target=target, loss=brick(absolute_error))
    config.objectives = {"features": objective}
    add(config, pairs={}, predicts=(0, 1), reads=())
    crop = clip_transforms.random_resized_crop_flip
    config.data.augment = brick(crop, scale=(0.3, 1.0))
    config.evals.transform = brick(clip_transforms.centre_crop)
    hide(config)
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.video_data(config, choice["path"], choice["test"])
    return config


def hide(config: ConfigDict) -> None:
    """Set the two masks of each clip."""
    samplers = {
        name: brick(multiblock.tubes, blocks=blocks, scale=scale, seen=seen, predicted=predicted)
        for name, (blocks, scale, seen, predicted) in KINDS.items()
    }
    config.mask = brick(masks.each, samplers=samplers)


def teach(config: ConfigDict, start: float, end: float) -> None:
    """Set the teacher, an EMA of the encoder, and the same average for evaluation."""
    rising = brick(momentum.linear, start=start, end=end)
    find = brick(features.last_tokens)
    teacher = brick(average.average, find=find, momentum=rising, parts=("encoder",))
    config.teachers = {"average": teacher}
    config.ema = rising


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe of the official scripts."""
    config.input.size = (16, 224, 224)
    size = recipes.vit_of_patch_16(variant)
    config.model = brick(vit_vjepa, variant=size, compute=brick(compute, dtype="bfloat16"))
    recipes.clip_decoding(config, frames=16, stride=4)
    teach(config, start=0.998, end=1.0 - 0.002 * (1 - 1 / STRETCH))
    config.train.epochs = epochs
    config.train.batch_size = 3072
    optim = brick(adamw_dino, lr=6.25e-4, lr_per=0, clip_norm=float("inf"), late=())
    optim.stretch = STRETCH
    config.optim = optim
    warm = epochs * 40 / 300
    config.schedule = brick(
        warmup_cosine, warmup_epochs=warm, initial=0.32, final=1.6e-3, stretch=STRETCH
    )


def small(config: ConfigDict) -> None:
    """Set minutes of a small model on synthetic clips; sizes and rates are ours."""
    clips(config)
    config.model = brick(vit_vjepa, variant="micro", patch=(2, 8, 8), predictor="3x64x4")
    teach(config, start=0.99, end=1.0)
    recipes.small_training(config)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model on synthetic clips."""
    clips(config)
    config.model = brick(vit_vjepa, variant="nano", patch=(2, 8, 8), predictor="1x16x2")
    teach(config, start=0.9, end=1.0)
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)


def clips(config: ConfigDict) -> None:
    """Set `input.size` and the clips of small runs."""
    config.input.size = (8, 32, 32)
    recipes.tiny_videos(config)
    recipes.clip_decoding(config, frames=8, stride=1)
