"""ConvMAE (MCMAE): masked convolution meets masked autoencoders (arXiv 2205.03892), ImageNet-1k.

  python -m maskmim.train --config convmae --workdir runs/convmae
  python -m maskmim.train --config convmae:small --workdir runs/convmae_small

After the colon: variant=B (the only size with official code), or widths x depths x heads such as
256-384-768x2-2-11x12; epochs=N; shards=DIR (docs/data.md); small (some minutes on two CPU cores,
embedded photographs); tiny (a few steps of a very small model).

The encoder has three stages: two of convolutions on cells of 4 and of 8 pixels, a transformer on
tokens of 16 pixels. The mask is drawn for tokens and grows to the finer stages: a cell is hidden
where its token is, and convolutions see zeros there. Visible tokens alone enter the transformer.
The decoder is MAE's; it reads the sum of all three stages. Features for evaluation are those of the
third stage before any norm, as in the official encoder of fine-tuning.

Files: maskmim/models/convmae.py; masks of stages: maskmim/models/convnext.py.

The recipe is that of the official PRETRAIN.md (1600 epochs, batch 3 x 8 x 128, learning rate 1.5e-4
per 256 images, weight decay 0.05, 40 epochs of warm-up, pixels normalised per patch) and
main_pretrain.py: AdamW (0.9, 0.95), cosine to 0, crops of 20 to 100 % of the picture and flips.
All numbers of `small` and `tiny` are ours.
Differences: biases of convolutions start at 0; an epoch is every image exactly once. Fine-tuning
and FastConvMAE, which decodes four complementary masks of a picture, are not included.

Published results to expect (ImageNet-1k top-1, official README; not yet reproduced by us):
B after 1600 epochs: fine-tuned 85.0, linear probe 70.9 (MAE in their comparison 83.6 and 67.8).
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.config.defaults import norm_pix_objective
from maskmim.masks import uniform
from maskmim.models import convmae
from maskmim.models.layers.compute import compute
from maskmim.optim import adamw
from maskmim.schedules import warmup_cosine

SYSTEMS = (18,)


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, variant="B", epochs=1600.0, shards="", small=False, tiny=False)
    config = base()
    config.mask = brick(uniform.random, ratio=0.75)
    config.objectives = {"pixels": norm_pix_objective()}
    config.mesh.rules = public_path(convmae.rules)
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
    config.model = brick(convmae.convmae, variant=variant, compute=brick(compute, dtype="bfloat16"))
    recipes.mae_training(config, epochs, batch_size=3072)


def small(config: ConfigDict) -> None:
    """Set some minutes on two CPU cores, on the embedded photographs."""
    config.input.size = (96, 96)
    config.model = brick(
        convmae.convmae,
        variant="24-48-128x1-1-4x4",
        patch=(3, 3),
        decoder_depth=1,
        decoder_width=96,
        decoder_heads=3,
    )
    config.train.epochs = 10.0
    config.train.batch_size = 64
    config.optim = brick(adamw, lr=1.5e-3, lr_per=64)
    config.schedule = brick(warmup_cosine, warmup_epochs=1.0)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_images(config)
    config.model = brick(
        convmae.convmae,
        variant="8-8-16x1-1-1x2",
        patch=(2, 2),
        decoder_depth=1,
        decoder_width=16,
        decoder_heads=2,
    )
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)
