"""ConvNeXt V2 / FCMAE: masked autoencoding with convolutions (arXiv 2301.00808), ImageNet-1k.

  python -m maskmim.train --config configs/convnext_v2.py:variant=B --workdir runs/convnext_v2_b

After the colon: variant=A | F | P | N | T | B | L | H (atto, femto, pico, nano, tiny, base, large,
huge; or width x depths such as 96x3-3-9-3); epochs=N, 800 in the paper's studies and 1600 for its
results; tiny (a few small steps on the embedded photographs).

30 of the 49 units of 32 x 32 pixels are hidden. Convolutions and GRN of the encoder leave hidden
cells out at every resolution; a decoder of one ConvNeXt V2 block, 512 wide, sees the last stage's
grid with a mask token in hidden cells. The recipe is that of the official TRAINING.md and
main_pretrain.py: AdamW (0.9, 0.95), weight decay 0.05 (GRN's gain and offset are decayed, biases
and norms are not), learning rate 1.5e-4 per 256 pictures at batch 4096, 40 epochs of warm-up,
cosine to 0, crops of 20 to 100 % of the picture and flips, pixels normalised per unit.

Differences: the published weights were trained in JAX with masked dense convolutions, as here; the
released PyTorch code uses sparse ones, and its GRN sums over all pictures of a device, not over
each. Kernels start from N(0, 0.02), see maskmim/models/fcmae.py. The convolutions compute hidden
cells too and discard them, so masking saves no time. An epoch is every picture exactly once; the
official loader drops the last partial batch. Fine-tuning is not here.

Published results to expect (ImageNet-1k top-1 after fine-tuning at 224 px, official README; not yet
reproduced by us):
  A 76.7, F 78.5, P 80.3, N 81.9, T 83.0, B 84.9, L 85.8, H 86.3.
"""

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base, norm_pix_objective
from maskmim.config.python_file import parse_argument
from maskmim.config.recipes import mae_imagenet, tiny

SYSTEMS = (32,)

# The official int(49 * 0.4) keeps 19 of 49 units; a ratio of 0.6, rounded, would keep 20.
HIDDEN = 30 / 49


def get_config(arg: str = "") -> ConfigDict:
    """The config for what stands after the colon."""
    choice = parse_argument(arg, variant="B", epochs=1600.0, tiny=False)
    config = base()
    if choice["tiny"]:
        tiny(config)
        size = {"variant": "8x1-2", "patch": (4, 4), "decoder_width": 16}
    else:
        mae_imagenet(config, "B/16", choice["epochs"])
        size = {"variant": choice["variant"], "dtype": "bfloat16"}
    config.model = brick("maskmim.models.fcmae.convnext_fcmae", **size)
    config.mask = brick("maskmim.masks.uniform.random", ratio=HIDDEN)
    config.objectives = {"pixels": norm_pix_objective()}
    config.mesh.rules = "maskmim.models.convnext.rules"
    return config
