"""CAE: Context Autoencoder for Self-Supervised Representation Learning (arXiv 2202.03026).

  python -m maskmim.train --config cae --workdir runs/cae \\
      --config.teachers.tokenizer.workdir=runs/vq_kd
  python -m maskmim.train --config cae:target=pixels --workdir runs/cae_pixels

After the colon: target=tokens | pixels (tokens are the codes of a tokenizer that was trained here,
see configs/beit_v2.py); variant=B | L (patches of 16; any of maskmim.models.vit.variant); epochs=N;
shards=DIR (docs/data.md); tiny (a few small steps on the embedded photographs, with random codes).

98 of 196 patches are hidden in blocks. Four blocks of cross-attention regress the latents of the
hidden patches from those of the visible ones; four of self-attention see only the regressed latents
and predict codes. Added is twice the squared error between the regressed latents and those that
the same encoder computes from the hidden patches alone. The recipe is that of the official scripts:
AdamW (0.9, 0.999), weight decay 0.05, gradients clipped at norm 3, learning rate 1.5e-3 at batch
size 2048, 10, 20 or 40 epochs of warm-up for 300, 800 or 1600, cosine to 1e-5, crops of 8 to 100 %
and flips, drop path 0.1, LayerScale from 0.1 (L: 1e-5).

Differences: codes are those of our tokenizer, of the same picture; officially DALL-E's, of the crop
at 112 pixels. An epoch is every image exactly once; bfloat16 instead of float16. L was meant to
start as BEiT does, but the flag follows a missing line continuation of the script; here it starts
as B. target=pixels, with MAE's target and loss, is not in the official code. CAE v2 is not
included.

Published results to expect with DALL-E's codes (ImageNet-1k top-1 of linear probe / attentive probe
/ fine-tuning, official README; not yet reproduced by us): B 300 epochs 64.5 / 74.0 / 83.6, 800
epochs 68.9 / 75.9 / 83.8, 1600 epochs 70.3 / 77.2 / 83.9; L 1600 epochs 77.8 / 81.2 / 86.2.
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.defaults import norm_pix_objective
from maskmim.data import transforms
from maskmim.losses import squared_error
from maskmim.masks import blocks
from maskmim.models.cae import vit_cae
from maskmim.models.layers.compute import compute
from maskmim.objectives import classify, match
from maskmim.targets import codes, features
from maskmim.teachers import alignment, random_codes, tokenizers

SYSTEMS = (4,)

TARGETS = {
    "tokens": brick(classify, head="tokens", target=brick(codes.codes)),
    "pixels": norm_pix_objective(),
}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, target="tokens", variant="B", epochs=800.0, shards="", tiny=False)
    target = choice["target"]
    config = base()
    config.objectives = {
        target: recipes.pick_option("target", target, TARGETS),
        "alignment": brick(
            match,
            head="latent",
            target=brick(features.features),
            loss=brick(squared_error),
            scale=2.0,
        ),
    }
    config.teachers = {"encoder": brick(alignment.alignment)}
    config.data.augment = brick(transforms.random_resized_crop_flip, scale=(0.08, 1.0))
    if choice["tiny"]:
        tiny(config, target)
    else:
        variant = recipes.vit_of_patch_16(choice["variant"])
        published(config, target, variant, choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    return config


def published(config: ConfigDict, target: str, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    config.model = brick(
        vit_cae,
        variant=variant,
        layer_scale=1e-5 if variant == "L" else 0.1,
        heads={"tokens": 8192} if target == "tokens" else {"pixels": None},
        compute=brick(compute, dtype="bfloat16"),
    )
    config.mask = brick(blocks.beit, ratio=0.5, smallest=16)
    if target == "tokens":
        config.teachers.tokenizer = brick(tokenizers.of_run, workdir="runs/vq_kd")
    config.train.epochs = epochs
    config.train.batch_size = 2048
    recipes.adamw_cosine(
        config,
        lr=1.5e-3,
        clip_norm=3.0,
        warmup_epochs=recipes.warmup(epochs, max(10.0, epochs / 40)),
        final=1e-5 / 1.5e-3,
    )


def tiny(config: ConfigDict, target: str) -> None:
    """Set a few steps of a very small model, with random codes."""
    recipes.tiny_images(config)
    config.model = brick(
        vit_cae,
        variant="nano",
        patch=(8, 8),
        regressor_depth=1,
        decoder_depth=1,
        heads={"tokens": 16} if target == "tokens" else {"pixels": None},
    )
    config.mask = brick(blocks.beit, ratio=0.5, smallest=2)
    if target == "tokens":
        config.teachers.tokenizer = brick(random_codes.random_projection, size=16)
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)
