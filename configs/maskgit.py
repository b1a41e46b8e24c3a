"""MaskGIT: Masked Generative Image Transformer (arXiv 2202.04200), ImageNet-1k at 256 pixels.

  python -m maskmim.train --config vqgan --workdir runs/tokenizer
  python -m maskmim.train --config maskgit:tokenizer=runs/tokenizer --workdir runs/it

After the colon: tokenizer=WORKDIR, the run of configs/vqgan.py, by default runs/tokenizer, or
tokenizer=fresh, an untrained one for plans and tests, which is the default of tiny;
variant=24x768x16 (depth x width x heads); shards=DIR (docs/data.md); small (64 pixels, the embedded
photographs, minutes on a CPU); tiny (a few small steps on the same).

Of 16 x 16 codes a share cos(pi/2 r), r uniform for each example, is hidden, and a transformer of 24
post-norm blocks predicts them from the others and the class. Decoding starts with all codes hidden
and fills in the most confident predictions first, in 12 steps (maskmim/generate/parallel.py);
images/samples-<step>.png shows samples and pictures whose right half was repainted.

The recipe is that of maskgit_class_cond_config.py of google-research/maskgit, which has no training
loop, and section 4.1 of the paper: AdamW (0.9, 0.96), weight decay 0.045, 1e-4 after 5000 steps of
warm-up, batch size 256, 300 epochs (2M steps, 400 epochs, in the config), label smoothing 0.1,
dropout 0.1, crops.

Differences: augmentation is not in the released files: crops of 20 to 100 % and flips are ours;
biases, norms and positions are not decayed; hidden tokens are a rounded share, which may be none
(such an example does not count). The config's min_masking_rate 0.5 is not used by the official
code.

Published results to expect (ImageNet-1k, FID of samples by class; official README; not yet
reproduced by us): 6.06 at 256 pixels, 7.32 at 512; the paper has 6.18 at 256.
"""

from ml_collections import ConfigDict

from maskmim.config import add, base, brick, parse_argument
from maskmim.config import recipes_tokenizer as pictures
from maskmim.config.bricks import public_path
from maskmim.data.folder import LABEL_SET
from maskmim.generate import parallel
from maskmim.losses import cross_entropy
from maskmim.masks import curves, ratio, uniform, varied
from maskmim.methods import masked_tokens
from maskmim.models import token_transformer
from maskmim.models.layers.compute import compute
from maskmim.models.vq_autoencoder import vq_autoencoder
from maskmim.optim import adamw
from maskmim.schedules import warmup_constant
from maskmim.teachers import picture_codes

SYSTEMS = (101,)


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg, tokenizer="", variant="24x768x16", shards="", small=False, tiny=False
    )
    config = base()
    config.method = public_path(masked_tokens.masked_tokens)
    config.mask = brick(
        varied.per_example,
        scores=brick(uniform.random_scores),
        law=brick(ratio.along, curve=brick(curves.cosine)),
    )
    config.objectives = {}
    add(config, token_loss=brick(cross_entropy, smoothing=0.1))
    config.mesh.rules = public_path(token_transformer.rules)
    tokenizer = choice["tokenizer"] or ("fresh" if choice["tiny"] else "runs/tokenizer")
    if choice["tiny"]:
        tiny(config, tokenizer)
    elif choice["small"]:
        small(config, tokenizer)
    else:
        published(config, choice["variant"], tokenizer, choice["shards"])
    return config


def published(config: ConfigDict, variant: str, tokenizer: str, shards: str) -> None:
    """Set the recipe on ImageNet-1k."""
    bfloat16 = brick(compute, dtype="bfloat16")
    config.model = brick(token_transformer.bert, variant=variant, compute=bfloat16)
    add_codes(config, tokenizer, {}, classes=1000, steps=12)
    pictures.published_pictures(config, 300.0, shards)
    optimiser(config, lr=1e-4, warmup_epochs=5000 / pictures.STEPS_PER_EPOCH)
    config.evals.at_end = ("knn", "linear_probe")


def small(config: ConfigDict, tokenizer: str) -> None:
    """Set a recipe for minutes on a CPU."""
    config.model = brick(token_transformer.bert, variant="6x128x4")
    add_codes(config, tokenizer, pictures.SMALL_AUTOENCODER, classes=0, steps=12)
    pictures.small_pictures(config)
    optimiser(config, lr=1e-3, warmup_epochs=0.1)
    config.evals.at_end = ("knn", "linear_probe")


def tiny(config: ConfigDict, tokenizer: str) -> None:
    """Set a few steps of a very small model, by default on the codes of an untrained tokenizer."""
    config.model = brick(token_transformer.bert, variant="nano")
    add_codes(config, tokenizer, pictures.TINY_AUTOENCODER, classes=0, steps=4)
    pictures.tiny_pictures(config)
    optimiser(config, lr=1e-3, warmup_epochs=0.1)


def add_codes(config: ConfigDict, workdir: str, size: dict, *, classes: int, steps: int) -> None:
    """Add the tokenizer, the class that codes are conditioned on (0: none), and the generation.

    size: keywords of the untrained tokenizer that the workdir 'fresh' stands for.
    """
    tokenizer = brick(picture_codes.of_run, workdir=workdir)
    if workdir == "fresh":
        tokenizer = brick(picture_codes.fresh, model=brick(vq_autoencoder, **size))
    if classes:
        config.input.labels = {LABEL_SET: classes}
    add(
        config,
        tokenizer=tokenizer,
        condition=ConfigDict({"label": LABEL_SET if classes else ""}),
        generation=brick(parallel.decode, steps=steps),
    )


def optimiser(config: ConfigDict, lr: float, warmup_epochs: float) -> None:
    """Set `optim` and `schedule`."""
    config.optim = brick(adamw, lr=lr, lr_per=0, b1=0.9, b2=0.96, weight_decay=0.045)
    config.schedule = brick(warmup_constant, warmup_epochs=warmup_epochs)
