"""LUT: Learning with Unmasked Tokens Drives Stronger Vision Learners (arXiv 2310.13593).

  python -m maskmim.train --config lut --workdir runs/lut
  python -m maskmim.train --config lut:small --workdir runs/lut_small

After the colon: variant=S/16 | B/16 | L/16 (and any of maskmim.models.vit.variant); epochs=N;
source=mean | class (what a view is known by: its visible tokens' mean, as published, or its class
token, ours); shards=DIR (docs/data.md); small (minutes on a CPU, on the embedded photographs);
tiny (a few steps of a very small model on them).

Two crops of a picture show a quarter of their patches each, at places that differ. MAE's decoder
predicts the first view. A projector and a predictor on the mean of a view's visible tokens learn to
predict, by cosine, what an EMA of encoder and projector makes of the mean of all tokens of the
other view: weight 0.25. Crops are resized pictures moved by up to 4 pixels and flipped; the second
view has other colours, then is grey, solarised or blurred. The recipe is that of the official
PRETRAIN.md: AdamW (0.9, 0.95), weight decay 0.05, batch size 4096, learning rate 1.5e-4 per 256
images (officially 1.5e-4 * sqrt(batch) / 4, which is the same at 4096), 40 epochs of warm-up,
cosine to 0, 1600 epochs, momentum 0.996 to 1 along a cosine, projector and predictor of two layers
without biases, 4096 hidden units with batch norm.

Differences: batch norms of the average use its batch, officially running averages of the student's;
batch norms see the whole batch, officially 1,024 of 4,096 images at a time (train.micro_batches=4
does that), each view by itself in both; bfloat16 instead of float16; an epoch is every image
exactly once. The documented command gives the weight 0.25 as --w_bc, which the released main_lut.py
does not know (it has --w_b, 0.1 by default), though its training loop reads w_bc.

Published results to expect (ImageNet-1k top-1 after fine-tuning, official README; not yet
reproduced by us): S/16 82.0 (MAE 81.4), B/16 84.2 (83.7), L/16 86.0 (85.6).
"""

from ml_collections import ConfigDict

from maskmim.config import add, base, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.config.defaults import norm_pix_objective
from maskmim.data import simple_crop
from maskmim.masks import views as masks
from maskmim.methods import views
from maskmim.models.layers.compute import compute
from maskmim.models.masked_vit import vit_mae
from maskmim.models.projectors import mlp
from maskmim.objectives import cosine_pair, pairs
from maskmim.teachers import average, momentum, projections

SYSTEMS = (9,)

SOURCES = {
    "mean": (pairs.mean_tokens, projections.projected_mean),
    "class": (pairs.class_token, projections.projected_class),
}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg, variant="B/16", epochs=1600.0, source="mean", shards="", small=False, tiny=False
    )
    config = base()
    config.method = public_path(views.masked_views)
    config.mask = brick(masks.disjoint, ratio=0.75, views=2)
    config.objectives = {"pixels": norm_pix_objective()}
    config.data.augment = brick(simple_crop.two_views)
    student, teacher = recipes.pick_option("source", choice["source"], SOURCES)
    pair = brick(cosine_pair, source=brick(student), hint="projection", scale=0.25)
    add(config, pairs={"context": pair}, predicts=(0,), reads=())
    if choice["tiny"]:
        tiny(config)
        start = 0.9
    elif choice["small"]:
        small(config)
        start = 0.99
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
        start = 0.996
    config.teachers = {"average": averaged(teacher, start)}
    return config


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    config.model = brick(
        vit_mae,
        **recipes.vit_size(variant),
        decoder_depth=8,
        decoder_width=512,
        decoder_heads=16,
        compute=brick(compute, dtype="bfloat16"),
    )
    config.calls = heads(hidden=4096, dtype="bfloat16")
    recipes.mae_training(config, epochs)


def small(config: ConfigDict) -> None:
    """Set minutes of a small model on the embedded photographs; sizes and rates are ours."""
    recipes.small_model(config, brick(vit_mae, **recipes.SMALL_VIT))
    config.calls = heads(hidden=512)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_model(config, brick(vit_mae, **recipes.TINY_VIT))
    config.calls = heads(hidden=64)


def heads(hidden: int, dtype: str = "float32") -> dict[str, ConfigDict]:
    """Return the projector and the predictor, two layers each."""
    return {name: brick(mlp, hidden=hidden, dtype=dtype) for name in ("projector", "predictor")}


def averaged(find: object, start: float) -> ConfigDict:
    """Return the EMA of encoder and projector, whose momentum rises from `start` to 1."""
    return brick(
        average.average,
        find=brick(find),
        momentum=brick(momentum.cosine, start=start, end=1.0),
        parts=("encoder", "projector"),
    )
