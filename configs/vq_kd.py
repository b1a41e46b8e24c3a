"""VQ-KD: the tokenizer of BEiT v2 (arXiv 2208.06366, section 3.1).

  python -m maskmim.train --config configs/vq_kd.py --workdir runs/vq_kd \\
      --config.teachers.teacher.network.path=clip-vit-base-patch16/model.safetensors

After the colon: teacher=clip | dino; variant=B/16, ... of its own ViT; epochs=N; tiny (a few small
steps on the embedded photographs, with a random teacher). configs/beit_v2.py pretrains with it.

A ViT-B whose tokens become one of 8192 unit vectors of 32 values each, from which a ViT of three
blocks predicts a frozen teacher's features (cosine). Codes are moving averages (decay 0.99) that
begin with k-means; vectors are drawn to them (mean squared error). The recipe is that of
TOKENIZER.md: batch 512, 2e-4, betas (0.9, 0.99), decay 1e-4, crops of 8 to 100 %, 10 epochs of
warm-up, cosine to 1e-5.

Differences: bfloat16 where they had float16; see maskmim/quantize/ema_codebook.py for k-means. The paper's
codebook loss is not in the code, nor here. Published: 97 % of the codes are in use.
"""

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base
from maskmim.config.load import add
from maskmim.config.parse import ConfigError
from maskmim.config.python_file import parse_argument
from maskmim.config.recipes import mae_imagenet, matched, tiny
from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD

SYSTEMS = (113,)

FEATURES = {"clip": 512, "dino": 768}


def get_config(arg: str = "") -> ConfigDict:
    """The config for what stands after the colon."""
    choice = parse_argument(arg, teacher="clip", variant="B/16", epochs=100.0, tiny=False)
    if choice["teacher"] not in FEATURES:
        raise ConfigError(f"teacher={choice['teacher']}: use {' or '.join(FEATURES)}")
    config = base()
    config.method = "maskmim.methods.vq_kd.vq_kd"
    if choice["tiny"]:
        tiny(config)
        network = brick("maskmim.models.frozen_vit.random_vit", variant="nano", patch=(8, 8))
        size = {"features": 32, "width": 8, "decoder_depth": 1}
        add(config, codebook=averaged(size=32, rounds=2, offered=4))
    else:
        published(config, choice["variant"], choice["epochs"])
        network = learned(choice["teacher"])
        size = {"features": FEATURES[choice["teacher"]], "dtype": "bfloat16"}
        add(config, codebook=averaged())
    config.optim.no_decay = (r"(^|/)(bias|scale|positions|class_token)$",)
    config.input.mean = config.input.std = (0.5, 0.5, 0.5)
    config.data.augment = brick(
        "maskmim.data.transforms.random_resized_crop_flip", scale=(0.08, 1.0)
    )
    given = {"variant": config.model.variant, "patch": config.model.patch}
    config.model = brick("maskmim.models.vq_vit.vq_vit", **given, **size)
    config.teachers = {"teacher": brick("maskmim.teachers.frozen.features", network=network)}
    config.objectives = {
        "features": matched("features", "targets.features.features", "feature_losses.cosine"),
        "commitment": matched("vectors", "targets.codes.quantised", "losses.squared_error"),
    }
    return config


def averaged(**settings: int) -> ConfigDict:
    """The codebook."""
    return brick("maskmim.quantize.averaged", **settings)


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """The recipe on ImageNet-1k."""
    mae_imagenet(config, variant, epochs)
    config.train.batch_size = 512
    config.optim = brick(
        "maskmim.optim.adamw", lr=5e-5, lr_per=128, b1=0.9, b2=0.99, weight_decay=1e-4
    )
    config.schedule = brick("maskmim.schedules.warmup_cosine", warmup_epochs=10.0, final=0.05)


def learned(teacher: str) -> ConfigDict:
    """The published teachers; each file is named by --config.teachers.teacher.network.path."""
    if teacher == "clip":
        path = "clip-vit-base-patch16/model.safetensors"
        return brick("maskmim.teachers.pretrained.clip", path=path, projected=True)
    return brick(
        "maskmim.teachers.pretrained.vit",
        path="dino-vitb16/model.safetensors",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
