"""BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers (arXiv 2208.06366).

  python -m maskmim.train --config vq_kd --workdir runs/vq_kd \\
      --config.teachers.teacher.network.path=clip-vit-base-patch16/model.safetensors
  python -m maskmim.train --config beit_v2 --workdir runs/beit_v2 \\
      --config.teachers.tokenizer.workdir=runs/vq_kd

After the colon: variant=B/16, L/16 or any of maskmim.models.vit.variant; epochs=N; shards=DIR
(docs/data.md); tiny (a few small steps on the embedded photographs, with random codes).
configs/vq_kd.py trains the tokenizer.

Pretraining predicts the tokenizer's codes of 75 of 196 tokens, hidden in blocks, which enter as
mask embeddings; cross-entropy, twice: from the last block, and from two more blocks over the patch
tokens of block 9 (L: 21) with the last class token. The recipe is that of PRETRAINING.md: batch
size 2048, learning rate 1.5e-3, betas (0.9, 0.999), weight decay 0.05, gradients clipped at norm 3,
drop path 0.1, crops of 20 to 100 %, colours changed by up to 40 %, 10 epochs of warm-up, cosine to
1e-5. Up to 300 epochs beta 2 is 0.98 and no path is dropped.

Differences: bfloat16 instead of float16; masks have exactly 75 tokens (maskmim.masks.blocks); see
maskmim/models/beit_v2.py.

Published results to expect (ImageNet-1k top-1, paper and official README; not yet reproduced by
us): fine-tuned ViT-B 85.5, ViT-L 87.3; linear probe ViT-B 80.1; ADE20K mIoU 53.1 and 56.7.
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.data import jittered_crop
from maskmim.masks import blocks, roles
from maskmim.models import beit_v2
from maskmim.models.layers.compute import compute
from maskmim.objectives import classify
from maskmim.optim import adamw
from maskmim.targets import codes
from maskmim.teachers import random_codes, tokenizers

SYSTEMS = (113,)

SHORT = 300  # Up to this many epochs beta 2 is 0.98 and no path is dropped.
NO_DECAY = (r"(^|/)(bias|scale|positions|class_token)$",)


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, variant="B/16", epochs=1600.0, shards="", tiny=False)
    config = base()
    config.objectives = {
        head: brick(classify, head=head, target=brick(codes.codes))
        for head in ("codes", "aggregated")
    }
    config.data.augment = brick(jittered_crop.jittered_crop_flip)
    if choice["tiny"]:
        tiny(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.imagenet_data(config, choice["shards"])
    return config


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on ImageNet-1k."""
    short = epochs <= SHORT
    size = recipes.vit_size(variant)
    large = {"layer": 21, "layer_scale": 1e-5} if size["variant"] == "L" else {}
    config.model = brick(
        beit_v2.beit_v2,
        **size,
        **large,
        drop_path=0.0 if short else 0.1,
        compute=brick(compute, dtype="bfloat16"),
    )
    config.mask = block_mask(smallest=16)
    config.teachers = {"tokenizer": brick(tokenizers.of_run, workdir="runs/vq_kd")}
    config.train.epochs = epochs
    config.train.batch_size = 2048
    recipes.adamw_cosine(
        config,
        lr=1.5e-3,
        b2=0.98 if short else 0.999,
        no_decay=NO_DECAY,
        clip_norm=3.0,
        warmup_epochs=recipes.warmup(epochs, 10.0),
        final=1e-5 / 1.5e-3,
    )


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model, with random codes."""
    recipes.tiny_images(config)
    config.model = brick(
        beit_v2.beit_v2, variant="nano", patch=(8, 8), layer=1, aggregating=1, codes=64
    )
    config.mask = block_mask(smallest=2)
    config.teachers = {"tokenizer": brick(random_codes.random_projection, size=64)}
    recipes.tiny_run(config)
    config.optim = brick(adamw, no_decay=NO_DECAY)
    recipes.tiny_schedule(config)


def block_mask(smallest: int) -> ConfigDict:
    """Return the sampler: blocks of at least `smallest` tokens, hidden in place."""
    return brick(roles.in_place, sampler=brick(blocks.beit, ratio=75 / 196, smallest=smallest))
