"""VQGAN: a tokenizer of pictures (arXiv 2012.09841), as MaskGIT trains it (arXiv 2202.04200).

  python -m maskmim.train --config configs/vqgan.py --workdir runs/tokenizer
  python -m maskmim.train --config configs/vqgan.py:small --workdir runs/tokenizer_small

After the colon: adversarial=False for a tokenizer without its discriminator; small (64 pixels, the
embedded photographs, minutes on a CPU); tiny (a few small steps on the same). configs/maskgit.py
predicts its codes and writes pictures with them.

A convolutional autoencoder turns a picture of 256 pixels into 16 x 16 codes of 1024. The recipe is
that of configs/vqgan_config.py of google-research/maskgit, which has no training loop: Adam (0,
0.99), 1e-4, batch 256, 1M steps; squared error, codebook, commitment 0.25, entropy 0.1, adversarial
0.1, R1 10. The discriminator learns in the same step, see maskmim/methods/vq_autoencoder.py.

Differences: no perceptual loss (0.1 there, by a classifier trained on ImageNet) and no averaged
weights (0.999); augmentation and clipping are not in the released files: crops of 20 to 100 % and
flips are ours.

Published results to expect (ImageNet-1k, FID of reconstructions; official README; not yet
reproduced by us): 2.28 at 256 pixels, 1.97 at 512.
"""

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base
from maskmim.config.load import add
from maskmim.config.python_file import parse_argument
from maskmim.config.recipes_tokenizer import EPOCH, autoencoder, pictures, size_of

SYSTEMS = (101,)


def get_config(arg: str = "") -> ConfigDict:
    """The config for what stands after the colon."""
    choice = parse_argument(arg, adversarial=True, small=False, tiny=False)
    size = size_of(choice)
    config = base()
    pictures(config, size)
    config.model = autoencoder(size)
    config.mesh.rules = "maskmim.models.vq_autoencoder.rules"
    scales = {"reconstruction": 1.0, "codebook": 1.0, "commitment": 0.25, "entropy": 0.1}
    config.method = "maskmim.methods.vq_autoencoder.autoencoder"
    if choice["adversarial"]:
        config.method = "maskmim.methods.vq_autoencoder.adversarial"
        scales |= {"adversarial": 0.1, "discriminator": 1.0, "slope": 10.0}
        narrow = {"capacity": 1024, "widest": 64} if size else {}
        add(config, critic=brick("maskmim.models.critic.stylegan", **narrow))
    add(config, scales=ConfigDict(scales))
    how = {"lr": 1e-3, "b1": 0.9} if size else {"lr": 1e-4, "b1": 0.0}
    config.optim = brick("maskmim.optim.adamw", lr_per=0, b2=0.99, weight_decay=0.0, **how)
    if not size:
        config.train.epochs = 1_000_000 / EPOCH
    warmup = 0.1 if size else 0.0
    config.schedule = brick("maskmim.schedules.warmup_constant", warmup_epochs=warmup)
    config.evals.at_end = ()
    return config
