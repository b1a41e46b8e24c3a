"""MaskGIT: Masked Generative Image Transformer (arXiv 2202.04200), ImageNet-1k at 256 pixels.

  python -m maskmim.train --config configs/vqgan.py --workdir runs/tokenizer
  python -m maskmim.train --config configs/maskgit.py:tokenizer=runs/tokenizer --workdir runs/it

After the colon: tokenizer=WORKDIR, the run of configs/vqgan.py (tokenizer=fresh takes one that has
learnt nothing, for plans and tests); variant=24x768x16 (depth x width x heads); small (64 pixels,
the embedded photographs, minutes on a CPU); tiny (a few small steps on the same).

Of 16 x 16 codes a share cos(pi/2 r), r uniform for each example, is hidden, and a transformer of 24
post-norm blocks predicts them from the others and the class. Decoding starts from nothing and fills
in the surest guesses first, in 12 steps (maskmim/generate/parallel.py); images/samples-<step>.png
shows samples and pictures whose right half was painted anew.

The recipe is that of maskgit_class_cond_config.py of google-research/maskgit, which has no training
loop, and section 4.1 of the paper: AdamW (0.9, 0.96), weight decay 0.045, 1e-4 after 5000 steps of
warm-up, batch 256, 300 epochs (2M steps, 400 epochs, in the config), label smoothing 0.1, dropout
0.1, crops.

Differences: augmentation is not in the released files: crops of 20 to 100 % and flips are ours;
biases, norms and positions are not decayed; hidden tokens are a rounded share, which may be none
(such an example does not count). The config's min_masking_rate 0.5 is used nowhere.

Published results to expect (ImageNet-1k, FID of samples by class; official README; not yet
reproduced by us): 6.06 at 256 pixels, 7.32 at 512; the paper has 6.18 at 256.
"""

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base
from maskmim.config.load import add
from maskmim.config.python_file import parse_argument
from maskmim.config.recipes_tokenizer import EPOCH, autoencoder, pictures, size_of

SYSTEMS = (101,)

SMALL = {"tiny": "nano", "small": "6x128x4"}


def get_config(arg: str = "") -> ConfigDict:
    """The config for what stands after the colon."""
    choice = parse_argument(
        arg, tokenizer="runs/tokenizer", variant="24x768x16", small=False, tiny=False
    )
    size = size_of(choice)
    config = base()
    pictures(config, size)
    config.method = "maskmim.methods.masked_tokens.masked_tokens"
    tokenizer = brick("maskmim.teachers.picture_codes.of_run", workdir=choice["tokenizer"])
    if choice["tokenizer"] == "fresh" or choice["tiny"]:
        tokenizer = brick("maskmim.teachers.picture_codes.fresh", model=autoencoder(size))
    config.model = brick(
        "maskmim.models.token_transformer.bert",
        variant=SMALL[size] if size else choice["variant"],
        dtype="float32" if size else "bfloat16",
    )
    config.mesh.rules = "maskmim.models.token_transformer.rules"
    config.mask = brick(
        "maskmim.masks.varied.per_example",
        scores=brick("maskmim.masks.uniform.random_scores"),
        law=brick("maskmim.masks.ratio.along", curve=brick("maskmim.masks.curves.cosine")),
    )
    add(
        config,
        tokenizer=tokenizer,
        token_loss=brick("maskmim.losses.cross_entropy", smoothing=0.1),
        condition=ConfigDict({"label": "label", "classes": 0 if size else 1000}),
        generation=brick("maskmim.generate.parallel.decode", steps=4 if choice["tiny"] else 12),
    )
    config.optim = brick(
        "maskmim.optim.adamw", lr=1e-4, lr_per=0, b1=0.9, b2=0.96, weight_decay=0.045
    )
    config.schedule = brick("maskmim.schedules.warmup_constant", warmup_epochs=5000 / EPOCH)
    if size:
        config.optim.lr = 1e-3
        config.schedule.warmup_epochs = 0.1
    config.evals.at_end = () if choice["tiny"] else ("knn", "linear_probe")
    return config
