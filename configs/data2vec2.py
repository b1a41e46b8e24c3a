"""data2vec 2.0: Efficient Self-supervised Learning with Contextualized Target Representations.

  python -m maskmim.train --config data2vec2 --workdir runs/data2vec2
  python -m maskmim.train --config data2vec2:variant=L/16 --workdir runs/data2vec2_l
  python -m maskmim.train --config data2vec2:small --workdir runs/data2vec2_small

After the colon: variant=B/16 | L/16; epochs=N; shards=DIR (docs/data.md); small (minutes on a CPU,
on the embedded photographs); tiny (a few steps of a very small model on them).

arXiv 2212.07525, ImageNet-1k. A ViT with norms after its sums sees what 16 masks of a picture leave
visible, each by itself: islands of 3 x 3 tokens, a fifth of the picture. An EMA of it sees the
whole picture once for all 16. What the MLPs of its last ten blocks make of each token, standardised
over the tokens, averaged, and layer-normalised, is the target of the hidden tokens; grouped
convolutions over visible tokens and noise predict it. The class token itself is compared with the
mean target of the picture. Both losses are squared errors, of a token summed and divided by the
root of its width. The recipe is that of examples/data2vec/config/v2/base_images_only_task.yaml:
375,300 steps of batch size 256 (L: 128), 50,040 of them warm-up, cosine to 0, AdamW (0.9, 0.95),
weight decay 0.05, rate 1e-3 (L: 4e-4), gradients clipped at norm 4, momentum 0.9998 to 0.99999
along a line over 100,000 steps (L: 150,000), crops of 20 to 100 % of the picture and flips. The
loss of the class token is officially a sum over the examples of a device, 256 with their masks (L:
128), times 0.01: here a mean times 2.56 (L: 1.28). Evaluation reads the student, as fine-tuning
does officially. There is no outside teacher, so that no file is taken.

Differences: bfloat16 instead of float16, with norms, softmax and losses in float32; an epoch is
every image exactly once; see also maskmim/models/data2vec.py. The 16 passes of the student are one
after another, officially one batch. ViT-H of the release, whose decoder has no last norm on request
(final_layer_norm), is not included. Without a source, hence ours: all sizes and rates of small and
tiny.

Published results to expect: none known, as the README of the release states none for pictures and
the paper was not at hand.
"""

from ml_collections import ConfigDict

from maskmim.config import ConfigError, add, base, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.imagenet import TRAIN_IMAGES
from maskmim.losses import squared_error
from maskmim.masks import blocks
from maskmim.masks import views as masks
from maskmim.methods import views
from maskmim.models.data2vec import vit_data2vec
from maskmim.models.layers.compute import compute
from maskmim.models.vit import variant as variant_size
from maskmim.objectives import match, match_class
from maskmim.targets import features as targets
from maskmim.teachers import average, features, momentum

MASKS = 16
STEPS, WARMUP = 375_300, 50_040
CLASS_SCALE = 0.01  # of a sum over a device's 16 (L: 8) pictures with 16 masks each
# Batch size, rate, averaged layers, steps in which the momentum rises, hidden share, area of the
# islands above the visible share, convolutions and their side, pictures on a device.
PUBLISHED = {
    "B": (256, 1e-3, 10, 100_000, 0.8, 0.07, 6, 3, 16),
    "L": (128, 4e-4, 18, 150_000, 0.75, 0.1, 3, 5, 8),
}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, variant="B/16", epochs=0.0, shards="", small=False, tiny=False)
    config = base()
    config.method = public_path(views.masked_views)
    config.objectives = {}
    add(config, pairs={}, predicts=(), reads=())
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    return config


def mask(config: ConfigDict, *, ratio: float, extra: float, count: int) -> None:
    """Set the masks, all of which are predicted."""
    islands = brick(blocks.islands, ratio=ratio, extra=extra)
    config.mask = brick(masks.repeated, sampler=islands, ratio=ratio, views=count)
    config.predicts = tuple(range(count))


def compare(config: ConfigDict, *, class_scale: float) -> None:
    """Set both objectives, for the width of the model."""
    root = variant_size(config.model.variant).width ** 0.5
    target, mean = brick(targets.layer_normed_features), brick(targets.mean_layer_normed)
    loss = brick(squared_error)
    config.objectives = {
        "features": brick(match, head="features", target=target, loss=loss, scale=root),
        "class": brick(match_class, head="class", target=mean, loss=loss, scale=class_scale * root),
    }


def teach(config: ConfigDict, *, layers: int, start: float, end: float, until: float) -> None:
    """Set the teacher, an EMA of the encoder whose momentum rises until a share of the training."""
    rising = brick(momentum.linear, start=start, end=end, until=until)
    find = brick(features.averaged_mlps, layers=layers)
    teacher = brick(average.average, find=find, momentum=rising, parts=("encoder",))
    config.teachers = {"average": teacher}


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    size = recipes.vit_size(variant)
    if size["variant"] not in PUBLISHED:
        raise ConfigError(f"variant={variant}: use B/16 or L/16, whose recipes are published")
    batch, rate, layers, rising, ratio, extra, depth, side, pictures = PUBLISHED[size["variant"]]
    config.model = brick(
        vit_data2vec,
        **size,
        decoder_depth=depth,
        decoder_width=variant_size(size["variant"]).width,
        decoder_side=side,
        compute=brick(compute, dtype="bfloat16"),
    )
    mask(config, ratio=ratio, extra=extra, count=MASKS)
    compare(config, class_scale=CLASS_SCALE * pictures * MASKS)
    teach(config, layers=layers, start=0.9998, end=0.99999, until=rising / STEPS)
    config.train.epochs = epochs or STEPS * batch / TRAIN_IMAGES
    config.train.batch_size = batch
    warm = config.train.epochs * WARMUP / STEPS
    recipes.adamw_cosine(config, lr=rate, b2=0.95, warmup_epochs=warm, clip_norm=4.0)


def small(config: ConfigDict) -> None:
    """Set minutes of a small model on the embedded photographs; sizes and rates are ours."""
    config.input.size = (64, 64)
    config.model = brick(
        vit_data2vec, variant="micro", patch=(8, 8), decoder_depth=3, decoder_width=128, groups=4
    )
    mask(config, ratio=0.75, extra=0.07, count=4)
    compare(config, class_scale=1.0)
    teach(config, layers=4, start=0.99, end=0.999, until=1.0)
    recipes.small_training(config)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_images(config)
    config.model = brick(
        vit_data2vec, variant="nano", patch=(8, 8), decoder_depth=2, decoder_width=32, groups=4
    )
    mask(config, ratio=0.75, extra=0.07, count=2)
    compare(config, class_scale=1.0)
    teach(config, layers=1, start=0.9, end=0.99, until=0.5)
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)
