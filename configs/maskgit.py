"""MaskGIT: Masked Generative Image Transformer (arXiv 2202.04200), ImageNet-1k at 256 pixels.

  python -m maskmim.train --config configs/maskgit.py:stage=tokenizer --workdir runs/tokenizer
  python -m maskmim.train --config configs/maskgit.py:tokenizer=runs/tokenizer --workdir runs/it

After the colon: stage=transformer | tokenizer; tokenizer=WORKDIR, the tokenizer's run, which the
transformer needs (tokenizer=fresh takes one that has learnt nothing, for plans and tests);
variant=24x768x16 (depth x width x heads of the transformer); adversarial=False for a tokenizer
without its discriminator; small (64 pixels, the embedded photographs, minutes on a CPU); tiny (a
few small steps on the same).

A convolutional autoencoder turns a picture into 16 x 16 codes of 1024. Of these a share
cos(pi/2 r), r uniform for each example, is hidden, and a transformer of 24 post-norm blocks
predicts them from the others and the class. Decoding starts from nothing and fills in the surest
guesses first, in 12 steps (maskmim/generate/parallel.py); images/samples-<step>.png shows samples
and pictures whose right half was painted anew.

Recipes: configs/vqgan_config.py and maskgit_class_cond_config.py of google-research/maskgit, which
has no training loop, and section 4.1 of the paper. Tokenizer: Adam (0, 0.99), 1e-4, batch 256, 1M
steps; squared error, codebook, commitment 0.25, entropy 0.1, adversarial 0.1, R1 10. Transformer:
AdamW (0.9, 0.96), weight decay 0.045, 1e-4 after 5000 steps of warm-up, batch 256, 300 epochs
(2M steps, 400 epochs, in the config), label smoothing 0.1, dropout 0.1, crops.

Differences: no perceptual loss (0.1 there, by a classifier trained on ImageNet) and no averaged
weights (0.999); augmentation and clipping are not in the released files: crops of 20 to 100 % and
flips are ours; biases, norms and positions are not decayed; hidden tokens are a rounded share,
which may be none (such an example does not count). The config's min_masking_rate 0.5 is used
nowhere.

Published results to expect (ImageNet-1k, FID of samples by class; official README; not yet
reproduced by us): 6.06 at 256 pixels, 7.32 at 512; the paper has 6.18 at 256. Reconstructions of
the tokenizer: 2.28 and 1.97.
"""

from ml_collections import ConfigDict

from maskmim.bricks import brick
from maskmim.configuration import ConfigError, parse_argument
from maskmim.defaults import base
from maskmim.recipes import mae_imagenet, tiny

SYSTEMS = (101,)

EPOCH = 1_281_167 / 256  # Steps.
MODELS = "maskmim.models"


def get_config(arg: str = "") -> ConfigDict:
    """The config for what stands after the colon."""
    choice = parse_argument(
        arg,
        stage="transformer",
        tokenizer="runs/tokenizer",
        variant="24x768x16",
        adversarial=True,
        small=False,
        tiny=False,
    )
    stages = {"tokenizer": tokenizer_stage, "transformer": transformer_stage}
    if choice["stage"] not in stages:
        raise ConfigError(f"unknown stage {choice['stage']!r}: use {' or '.join(stages)}")
    config = base()
    data(config, choice)
    # Pixels in [0, 1]; the small one, in a short training, wants errors of pixels to weigh more.
    mean, std = (0.5, 0.25) if choice["small"] else (0.0, 1.0)
    config.input.mean, config.input.std = (mean,) * 3, (std,) * 3
    config.objectives = ConfigDict()
    with config.unlocked():
        stages[choice["stage"]](config, choice)
    return config


def data(config: ConfigDict, choice: dict) -> None:
    """Pictures, batch and length of a stage."""
    if choice["tiny"]:
        tiny(config)
        return
    if choice["small"]:
        config.input.size = (64, 64)
        config.train.epochs, config.train.batch_size = 20.0, 16
        return
    mae_imagenet(config, "B/16", 300.0)
    config.input.size = (256, 256)
    config.train.batch_size = 256


def autoencoder(choice: dict) -> ConfigDict:
    """The tokenizer's model."""
    sizes = {}
    if choice["tiny"]:
        sizes = {"width": 8, "levels": (1, 2, 2), "blocks": 1, "groups": 4}
        sizes |= {"codes": 32, "codes_width": 16}
    elif choice["small"]:
        sizes = {"width": 8, "levels": (1, 2, 4, 8), "blocks": 1, "groups": 4}
        sizes |= {"codes": 256, "codes_width": 64}
    return brick(f"{MODELS}.vq_autoencoder.vq_autoencoder", **sizes)


def tokenizer_stage(config: ConfigDict, choice: dict) -> None:
    """VQGAN."""
    small = choice["tiny"] or choice["small"]
    config.model = autoencoder(choice)
    config.mesh.rules = f"{MODELS}.vq_autoencoder.rules"
    scales = {"reconstruction": 1.0, "codebook": 1.0, "commitment": 0.25, "entropy": 0.1}
    config.method = "maskmim.methods.vq_autoencoder.autoencoder"
    if choice["adversarial"]:
        config.method = "maskmim.methods.vq_autoencoder.adversarial"
        scales |= {"adversarial": 0.1, "discriminator": 1.0, "slope": 10.0}
        config.critic = brick(
            f"{MODELS}.critic.stylegan", **({"capacity": 1024, "widest": 64} if small else {})
        )
    config.scales = ConfigDict(scales)
    config.optim = brick(
        "maskmim.optim.adamw", lr=1e-4, lr_per=0, b1=0.0, b2=0.99, weight_decay=0.0
    )
    # One step: a schedule that is constant after no warm-up at all would stay at 0.
    warmup = 1 / EPOCH
    if small:
        config.optim.lr, config.optim.b1, warmup = 1e-3, 0.9, 0.1
    else:
        config.train.epochs = 1_000_000 / EPOCH
    config.schedule = brick("maskmim.schedules.warmup_constant", warmup_epochs=warmup)
    config.evals.at_end = ()


def transformer_stage(config: ConfigDict, choice: dict) -> None:
    """Masked modelling of codes."""
    small = choice["tiny"] or choice["small"]
    config.method = "maskmim.methods.masked_tokens.masked_tokens"
    config.tokenizer = brick("maskmim.picture_codes.of_run", workdir=choice["tokenizer"])
    if choice["tokenizer"] == "fresh" or choice["tiny"]:
        config.tokenizer = brick("maskmim.picture_codes.fresh", model=autoencoder(choice))
    variant = {"tiny": "nano", "small": "6x128x4"}
    size = next((each for name, each in variant.items() if choice[name]), choice["variant"])
    dtype = "float32" if small else "bfloat16"
    config.model = brick(f"{MODELS}.token_transformer.bert", variant=size, dtype=dtype)
    config.mesh.rules = f"{MODELS}.token_transformer.rules"
    config.mask = brick(
        "maskmim.masks.varied.per_example",
        scores=brick("maskmim.masks.uniform.random_scores"),
        law=brick("maskmim.masks.ratio.along", curve=brick("maskmim.masks.curves.cosine")),
    )
    config.token_loss = brick("maskmim.token_losses.cross_entropy", smoothing=0.1)
    config.condition = ConfigDict({"label": "label", "classes": 0 if small else 1000})
    steps = {"steps": 4} if choice["tiny"] else {}
    config.generation = brick("maskmim.generate.parallel.decode", **steps)
    config.optim = brick(
        "maskmim.optim.adamw", lr=1e-4, lr_per=0, b1=0.9, b2=0.96, weight_decay=0.045
    )
    config.schedule = brick("maskmim.schedules.warmup_constant", warmup_epochs=5000 / EPOCH)
    if small:
        config.optim.lr = 1e-3
        config.schedule.warmup_epochs = 0.1
    config.evals.at_end = () if choice["tiny"] else ("knn", "linear_probe")
