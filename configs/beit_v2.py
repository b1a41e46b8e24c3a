"""BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers (arXiv 2208.06366).

  python -m maskmim.train --config configs/vq_kd.py --workdir runs/vq_kd \\
      --config.teachers.teacher.network.path=clip-vit-base-patch16/model.safetensors
  python -m maskmim.train --config configs/beit_v2.py --workdir runs/beit_v2 \\
      --config.teachers.tokenizer.workdir=runs/vq_kd

After the colon: variant=B/16, L/16 or any of maskmim.models.vit.variant; epochs=N; tiny (a few
small steps on the embedded photographs, with random codes). configs/vq_kd.py trains the tokenizer.

Pretraining predicts the tokenizer's codes of 75 of 196 tokens, hidden in blocks, which enter as
mask embeddings; cross-entropy, twice: from the last block, and from two more blocks over the patch
tokens of block 9 (L: 21) with the last class token. The recipe is that of PRETRAINING.md: batch
2048, 1.5e-3, betas (0.9, 0.999), decay 0.05, clipped at norm 3, drop path 0.1, crops of 20 to 100
%, colours changed by up to 40 %, 10 epochs of warm-up, cosine to 1e-5. Up to 300 epochs beta 2 is
0.98 and no path is dropped.

Differences: bfloat16 where they had float16; masks have exactly 75 tokens (maskmim.masks.blocks);
see maskmim/models/beit_v2.py.

Published results to expect (ImageNet-1k top-1, paper and official README; not yet reproduced by
us): fine-tuned ViT-B 85.5, ViT-L 87.3; linear probe ViT-B 80.1; ADE20K mIoU 53.1 and 56.7.
"""

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base
from maskmim.config.python_file import parse_argument
from maskmim.config.recipes import adamw_cosine, mae_imagenet, tiny

SYSTEMS = (113,)

SHORT = 300  # epochs up to which the short schedule's settings count


def get_config(arg: str = "") -> ConfigDict:
    """The config for what stands after the colon."""
    choice = parse_argument(arg, variant="B/16", epochs=1600.0, tiny=False)
    config = base()
    if choice["tiny"]:
        tiny(config)
        size = {"layer": 1, "aggregating": 1, "codes": 64}
        given = brick("maskmim.teachers.random_codes.random_projection", size=64)
    else:
        size = published(config, choice["variant"], choice["epochs"])
        given = brick("maskmim.teachers.tokenizers.of_run", workdir="runs/vq_kd")
    config.optim.no_decay = (r"(^|/)(bias|scale|positions|class_token)$",)
    config.model = brick(
        "maskmim.models.beit_v2.beit_v2",
        variant=config.model.variant,
        patch=config.model.patch,
        **size,
    )
    config.data.augment = brick("maskmim.data.jittered_crop.jittered_crop_flip")
    smallest = 2 if choice["tiny"] else 16
    blocks = brick("maskmim.masks.blocks.beit", ratio=75 / 196, smallest=smallest)
    config.mask = brick("maskmim.masks.roles.in_place", sampler=blocks)
    config.teachers = {"tokenizer": given}
    codes = brick("maskmim.targets.codes.codes")
    config.objectives = {
        head: brick("maskmim.objectives.classify", head=head, target=codes)
        for head in ("codes", "aggregated")
    }
    return config


def published(config: ConfigDict, variant: str, epochs: float) -> dict:
    """The recipe on ImageNet-1k; the model's keywords that depend on it."""
    long = epochs > SHORT
    mae_imagenet(config, variant, epochs)
    schedule = {"b2": 0.999 if long else 0.98, "warmup_epochs": 10.0, "final": 1e-5 / 1.5e-3}
    adamw_cosine(config, batch_size=2048, lr=1.5e-3, clip_norm=3.0, **schedule)
    size = {"drop_path": 0.1 if long else 0.0, "dtype": "bfloat16"}
    return size | {"layer": 21, "layer_scale": 1e-5} if variant.startswith("L/") else size
