"""EVEREST: Efficient Masked Video Autoencoder by Removing Redundant Spatiotemporal Tokens.

  python -m maskmim.train --config everest:path=/data/ucf101/train --workdir runs/everest
  python -m maskmim.train --config everest:small --workdir runs/everest_small

arXiv 2211.10636 (ICML 2024). After the colon: path=DIR (videos, searched with all its subfolders);
test=DIR (then the first level of subfolders of both names classes, and a linear probe and kNN run
at the end); variant=S | B | L | H; epochs=N; small (minutes on a CPU, on synthetic clips in which
one object moves); tiny (a few small steps on such clips).

VideoMAE that never computes what does not change. The patch embeddings of the step's own weights
(teachers/features.py) tell how far each cube is from the one before it at the same place; 30 % of
the cubes, those that changed most, are kept. Of these a random third is visible and the others are
predicted; the rest is neither encoded nor decoded (masks/redundancy.py). Network, target and loss
are VideoMAE's.
The recipe is that of scripts/ucf101/pretrain.sh: clips of 16 frames, every 4th of the video, AdamW
(0.9, 0.95), weight decay 0.05, 1e-3 per 256 clips, batch size 192 (8 GPUs with 24 each), 3200
epochs, of which 40 are warm-up, cosine to 1e-5 before scaling, four scales of crops, no flips.
HMDB51: epochs=4800 and --config.data.decode.stride=2 --config.evals.decode.stride=2.

Differences: 157 cubes are visible, officially 156; bfloat16 instead of float16, but the embeddings
that are compared are float32. The selection of frames that the paper describes is not released and
not included, nor is fine-tuning on 60 % of the cubes. Ours: all of small and tiny; S, L and H have
the widths of modeling_pretrain.py, but no script trains them.

Published results to expect: UCF101 top-1 93.7 after fine-tuning, B (official README; not yet
reproduced by us).
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config import recipes_videomae as shared
from maskmim.masks import redundancy
from maskmim.teachers import current, features

SYSTEMS = (53,)

DECODERS = {"S": "4x192x3", "B": "4x384x6", "L": "4x512x8", "H": "4x640x8"}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg, path="", test="", variant="B", epochs=3200.0, small=False, tiny=False
    )
    config = base()
    shared.clips(config)
    config.mask = brick(redundancy.tokens, ratio=0.9, predicted=0.2)
    found = brick(features.patch_embeddings)
    config.teachers = {"itself": brick(current.current, find=found)}
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        shared.small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.video_data(config, choice["path"], choice["test"])
    return config


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on UCF101."""
    shared.network(config, variant, recipes.pick_option("variant", variant, DECODERS))
    length = {"epochs": epochs, "warmup": 40.0, "batch_size": 192}
    shared.training(config, lr=1e-3, lr_per=256, **length)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    shared.tiny(config)
