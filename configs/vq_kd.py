"""VQ-KD: the tokenizer of BEiT v2 (arXiv 2208.06366, section 3.1).

  python -m maskmim.train --config vq_kd --workdir runs/vq_kd \\
      --config.teachers.teacher.network.path=clip-vit-base-patch16/model.safetensors

After the colon: teacher=clip | dino; variant=B/16, ... of the tokenizer's ViT; epochs=N; shards=DIR
(docs/data.md); tiny (a few small steps on the embedded photographs, with a random teacher).
configs/beit_v2.py pretrains with it.

The encoder is a ViT-B whose tokens become one of 8192 unit vectors of 32 values each, from which a
ViT of three blocks predicts a frozen teacher's features (cosine). Codes are moving averages (decay
0.99) that start from k-means; vectors are pulled to them (mean squared error). The recipe is that
of TOKENIZER.md: batch size 512, learning rate 2e-4, betas (0.9, 0.99), weight decay 1e-4, crops of
8 to 100 %, 10 epochs of warm-up, cosine to 1e-5.

Differences: bfloat16 instead of float16; see maskmim/quantize/ema_codebook.py for k-means. The
paper's codebook loss is neither in the official code nor here. Published: 97 % of the codes are in
use.
"""

from ml_collections import ConfigDict

from maskmim.config import add, base, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.data import transforms
from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD
from maskmim.losses import cosine, squared_error
from maskmim.methods import vq_kd
from maskmim.models.frozen_vit import random_vit
from maskmim.models.layers.compute import compute
from maskmim.models.vq_vit import vq_vit
from maskmim.optim import adamw
from maskmim.quantize import averaged
from maskmim.targets import codes, features
from maskmim.teachers import frozen, pretrained

SYSTEMS = (113,)

# The width of a teacher's features and its network, whose file is given by
# --config.teachers.teacher.network.path.
TEACHERS = {
    "clip": (
        512,
        brick(pretrained.clip, path="clip-vit-base-patch16/model.safetensors", projected=True),
    ),
    "dino": (
        768,
        brick(
            pretrained.vit,
            path="dino-vitb16/model.safetensors",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
    ),
}
NO_DECAY = (r"(^|/)(bias|scale|positions|class_token)$",)


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg, teacher="clip", variant="B/16", epochs=100.0, shards="", tiny=False
    )
    width, network = recipes.pick_option("teacher", choice["teacher"], TEACHERS)
    config = base()
    config.input.mean = config.input.std = (0.5, 0.5, 0.5)
    config.method = public_path(vq_kd.vq_kd)
    config.objectives = {
        "features": recipes.match_objective("features", features.features, cosine),
        "commitment": recipes.match_objective("vectors", codes.quantised, squared_error),
    }
    config.data.augment = brick(transforms.random_resized_crop_flip, scale=(0.08, 1.0))
    if choice["tiny"]:
        tiny(config)
    else:
        config.teachers = {"teacher": brick(frozen.features, network=network)}
        published(config, choice["variant"], width, choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    return config


def published(config: ConfigDict, variant: str, features: int, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    config.model = brick(
        vq_vit,
        **recipes.vit_size(variant),
        features=features,
        compute=brick(compute, dtype="bfloat16"),
    )
    add(config, codebook=brick(averaged))
    config.train.epochs = epochs
    config.train.batch_size = 512
    recipes.adamw_cosine(
        config,
        lr=5e-5,
        lr_per=128,
        b2=0.99,
        weight_decay=1e-4,
        no_decay=NO_DECAY,
        warmup_epochs=recipes.warmup(epochs, 10.0),
        final=0.05,
    )


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model with a random teacher."""
    recipes.tiny_images(config)
    config.model = brick(
        vq_vit, variant="nano", patch=(8, 8), features=32, width=8, decoder_depth=1
    )
    network = brick(random_vit, variant="nano", patch=(8, 8))
    config.teachers = {"teacher": brick(frozen.features, network=network)}
    add(config, codebook=brick(averaged, size=32, rounds=2, offered=4))
    recipes.tiny_run(config)
    config.optim = brick(adamw, no_decay=NO_DECAY)
    recipes.tiny_schedule(config)
