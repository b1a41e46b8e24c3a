"""CropMAE: Efficient Image Pre-Training with Siamese Cropped Masked Autoencoders (ECCV 2024).

  python -m maskmim.train --config cropmae --workdir runs/cropmae
  python -m maskmim.train --config cropmae:small --workdir runs/cropmae_small

After the colon: variant=S/16 (and any of maskmim.models.vit.variant); epochs=N; crops=
global_to_local (published) | local_to_global | random (two crops of the picture) | same (one crop
is both views); shards=DIR (docs/data.md); small (minutes on a CPU, on the embedded photographs);
tiny (a few steps of a very small model on them).

arXiv 2403.17823, ImageNet-1k. A global crop of a picture is seen whole; of a local crop, cut from
the global one, 2 of 196 patches are seen. Both pass the same ViT. A decoder predicts the hidden
patches of the local crop (pixels normalised per patch); each of its 4 blocks reads the encoded
global crop by cross-attention. The recipe is that of the official scripts/train_cropmae_in.sh:
batch size 2048, AdamW (0.9, 0.95), 1e-4 per 256 images, weight decay 0.05, 400 epochs, of which 5 %
are warm-up, cosine to 0, global crops of 10 to 100 % of the picture, local crops of 30 to 60 % of
the global one, flips of each, bilinear interpolation. (The defaults of misc/util.py are others:
5e-5, crops of 20 to 100 %, pixels that are not normalised.)

Differences: the official loop sets the learning rate after a step, so that its first update has the
peak rate, and all others that of the step before; its sampler drops the last partial batch, here an
epoch is every image exactly once; bfloat16 instead of float16. See also
maskmim/data/nested_crops.py. Features are those of whole pictures; pictures, reconstruction errors
and the held-out loss are of crops as in training, drawn once for each picture.

Published results to expect (ViT-S/16, labels propagated through videos, README; not yet reproduced
by us): DAVIS-2017 J&F 60.1, VIP mIoU 33.2, JHMDB PCK@0.1 43.5.
"""

from ml_collections import ConfigDict

from maskmim.config import add, base, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.config.defaults import norm_pix_objective
from maskmim.data import nested_crops, transforms
from maskmim.masks import views as masks
from maskmim.methods import views
from maskmim.models.layers.compute import compute
from maskmim.models.siamese import vit_siamese

SYSTEMS = (67,)

CROPS = {
    "global_to_local": (nested_crops.global_to_local, {}),
    "local_to_global": (nested_crops.local_to_global, {}),
    "random": (nested_crops.random_pair, {}),
    "same": (transforms.random_resized_crop_flip, {"scale": (0.1, 1.0)}),
}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        variant="S/16",
        epochs=400.0,
        crops="global_to_local",
        shards="",
        small=False,
        tiny=False,
    )
    config = base()
    config.method = public_path(views.masked_views)
    config.objectives = {"pixels": norm_pix_objective()}
    add(config, pairs={}, predicts=(1,), reads=((1, 0),))
    augment, limits = recipes.pick_option("crops", choice["crops"], CROPS)
    config.data.augment = brick(augment, **limits)
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    return config


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    config.mask = brick(masks.asymmetric, ratios=(0.0, 0.985))
    config.model = brick(
        vit_siamese, **recipes.vit_size(variant), compute=brick(compute, dtype="bfloat16")
    )
    config.train.epochs = epochs
    config.train.batch_size = 2048
    recipes.adamw_cosine(config, lr=1e-4, lr_per=256, b2=0.95, warmup_epochs=0.05 * epochs)


def small(config: ConfigDict) -> None:
    """Set minutes of a small model on the embedded photographs; sizes and rates are ours."""
    config.input.size = (64, 64)
    config.mask = brick(masks.asymmetric, ratios=(0.0, 0.96875))  # 2 of 64 tokens are seen
    config.model = brick(
        vit_siamese,
        variant="micro",
        patch=(8, 8),
        decoder_depth=2,
        decoder_width=64,
        decoder_heads=4,
        decoder_hidden=256,
    )
    recipes.small_training(config, epochs=20.0)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_images(config)
    config.mask = brick(masks.asymmetric, ratios=(0.0, 0.875))  # 2 of 16 tokens are seen
    config.model = brick(
        vit_siamese,
        variant="nano",
        patch=(8, 8),
        decoder_depth=2,
        decoder_width=32,
        decoder_heads=2,
        decoder_hidden=32,
    )
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)
