"""VQGAN: a tokenizer of pictures (arXiv 2012.09841), as MaskGIT trains it (arXiv 2202.04200).

  python -m maskmim.train --config vqgan --workdir runs/tokenizer
  python -m maskmim.train --config vqgan:small --workdir runs/tokenizer_small

After the colon: adversarial=False for a tokenizer without its discriminator; shards=DIR
(docs/data.md); small (64 pixels, the embedded photographs, minutes on a CPU); tiny (a few small
steps on the same). configs/maskgit.py predicts its codes and generates pictures with them.

A convolutional autoencoder turns a picture of 256 pixels into 16 x 16 codes of 1024. The recipe is
that of configs/vqgan_config.py of google-research/maskgit, which has no training loop: Adam (0,
0.99), 1e-4, batch size 256, 1M steps; squared error, codebook, commitment 0.25, entropy 0.1,
adversarial 0.1, R1 10. The discriminator learns in the same step, see
maskmim/methods/vq_autoencoder.py.

Differences: no perceptual loss (officially 0.1, by a classifier trained on ImageNet) and no EMA of
the weights (0.999); augmentation and clipping are not in the released files: crops of 20 to 100 %
and flips are ours.

Published results to expect (ImageNet-1k, FID of reconstructions; official README; not yet
reproduced by us): 2.28 at 256 pixels, 1.97 at 512.
"""

from ml_collections import ConfigDict

from maskmim.config import add, base, brick, parse_argument
from maskmim.config import recipes_tokenizer as pictures
from maskmim.config.bricks import public_path
from maskmim.methods.vq_autoencoder import adversarial, autoencoder
from maskmim.models import critic
from maskmim.models.vq_autoencoder import rules, vq_autoencoder
from maskmim.optim import adamw
from maskmim.schedules import warmup_constant

SYSTEMS = (101,)

SCALES = {"reconstruction": 1.0, "codebook": 1.0, "commitment": 0.25, "entropy": 0.1}
ADVERSARIAL_SCALES = SCALES | {"adversarial": 0.1, "discriminator": 1.0, "slope": 10.0}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, adversarial=True, shards="", small=False, tiny=False)
    config = base()
    config.objectives = {}
    config.mesh.rules = public_path(rules)
    config.evals.at_end = ()
    config.method = public_path(adversarial if choice["adversarial"] else autoencoder)
    add(config, scales=ConfigDict(ADVERSARIAL_SCALES if choice["adversarial"] else SCALES))
    if choice["adversarial"]:
        size = {"capacity": 1024, "widest": 64} if choice["tiny"] or choice["small"] else {}
        add(config, critic=brick(critic.stylegan, **size))
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["shards"])
    return config


def published(config: ConfigDict, shards: str) -> None:
    """Set the recipe on ImageNet-1k."""
    config.model = brick(vq_autoencoder)
    pictures.published_pictures(config, 1_000_000 / pictures.STEPS_PER_EPOCH, shards)
    config.optim = brick(adamw, lr=1e-4, lr_per=0, b1=0.0, b2=0.99, weight_decay=0.0)
    config.schedule = brick(warmup_constant, warmup_epochs=0.0)


def small(config: ConfigDict) -> None:
    """Set a recipe for minutes on a CPU."""
    config.model = brick(vq_autoencoder, **pictures.SMALL_AUTOENCODER)
    pictures.small_pictures(config)
    fast_optimiser(config)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    config.model = brick(vq_autoencoder, **pictures.TINY_AUTOENCODER)
    pictures.tiny_pictures(config)
    fast_optimiser(config)


def fast_optimiser(config: ConfigDict) -> None:
    """Set `optim` and `schedule` for a short training."""
    config.optim = brick(adamw, lr=1e-3, lr_per=0, b1=0.9, b2=0.99, weight_decay=0.0)
    config.schedule = brick(warmup_constant, warmup_epochs=0.1)
