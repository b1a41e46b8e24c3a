"""ConvNeXt V2 / FCMAE: masked autoencoding with convolutions (arXiv 2301.00808), ImageNet-1k.

  python -m maskmim.train --config convnext_v2:variant=B --workdir runs/convnext_v2_b

After the colon: variant=A | F | P | N | T | B | L | H (atto, femto, pico, nano, tiny, base, large,
huge; or widths x depths such as 96x3-3-9-3); shards=DIR (docs/data.md); epochs=N, 800 in the
paper's studies and 1600 for its results; tiny (a few small steps on the embedded photographs).

30 of the 49 units of 32 x 32 pixels are hidden. Convolutions and GRN of the encoder leave hidden
cells out at every resolution; a decoder of one ConvNeXt V2 block, 512 wide, sees the last stage's
grid with a mask token in hidden cells. The recipe is that of the official TRAINING.md and
main_pretrain.py: AdamW (0.9, 0.95), weight decay 0.05 (GRN's gain and offset are decayed, biases
and norms are not), learning rate 1.5e-4 per 256 images at batch size 4096, 40 epochs of warm-up,
cosine to 0, crops of 20 to 100 % of the picture and flips, pixels normalised per unit.

Differences: the published weights were trained in JAX with masked dense convolutions, as here; the
released PyTorch code uses sparse ones, and its GRN sums over all pictures of a device instead of
one. Kernels start from N(0, 0.02), see maskmim/models/fcmae.py. The convolutions compute hidden
cells too and discard them, so masking saves no time. An epoch is every image exactly once; the
official loader drops the last partial batch. Fine-tuning is not included.

Published results to expect (ImageNet-1k top-1 after fine-tuning at 224 px, official README; not yet
reproduced by us):
  A 76.7, F 78.5, P 80.3, N 81.9, T 83.0, B 84.9, L 85.8, H 86.3.
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.config.defaults import norm_pix_objective
from maskmim.masks import uniform
from maskmim.models import convnext
from maskmim.models.fcmae import convnext_fcmae
from maskmim.models.layers.compute import compute

SYSTEMS = (32,)

# The official int(49 * 0.4) keeps 19 of 49 units; a ratio of 0.6, rounded, would keep 20.
HIDDEN = 30 / 49


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, variant="B", epochs=1600.0, shards="", tiny=False)
    config = base()
    config.mask = brick(uniform.random, ratio=HIDDEN)
    config.objectives = {"pixels": norm_pix_objective()}
    config.mesh.rules = public_path(convnext.rules)
    if choice["tiny"]:
        tiny(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    return config


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    config.model = brick(convnext_fcmae, variant=variant, compute=brick(compute, dtype="bfloat16"))
    recipes.mae_training(config, epochs)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_images(config)
    config.model = brick(convnext_fcmae, variant="8x1-2", patch=(4, 4), decoder_width=16)
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)
