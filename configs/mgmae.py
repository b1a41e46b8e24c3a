"""MGMAE: Motion Guided Masking for Video Masked Autoencoding (arXiv 2308.10794), Kinetics-400.

  python -m maskmim.train --config mgmae:path=/data/k400/train --workdir runs/mgmae
  python -m maskmim.train --config mgmae:small --workdir runs/mgmae_small
  python -m maskmim.train --config mgmae:found,small --workdir runs/mgmae_small_found

After the colon: path=DIR (videos, searched with all its subfolders); test=DIR (then the first level
of subfolders of both names classes, and a linear probe and kNN run at the end); variant=S | B | L |
H; epochs=N; small (minutes on a CPU, on synthetic clips in which one object moves, whose exact flow
is given); tiny (a few small steps on such clips); found (small and tiny find the flow, too).

VideoMAE whose visible tubes follow the motion: a random map of the middle time step is warped along
the optical flow into past and future, and of each time step the strongest 20 of 196 cubes are
visible (masks/warped.py). Network, target and loss are VideoMAE's.
The recipe is that of scripts/mgmae/vit_b_k400_mgmae.sh: clips of 16 frames, every 4th of the video,
each read once for 4 crops, of which 1,536 are a batch (16 GPUs with 24 clips each); AdamW (0.9,
0.95), weight decay 0.05, 1e-3 per 256 clips, hence per 1,024 crops; 200 epochs of the clips (called
800), of which 20 are warm-up, cosine to 1e-5 before scaling; four scales of crops, no flips.
Something-Something V2: --config.data.decode.stride=2 --config.evals.decode.stride=2.

Differences: the flow is Lucas and Kanade's (teachers/lucas_kanade.py), from each cube's middle, not
that of RAFT-small, whose weights are not loaded; it loses large motion of small things. 20 cubes of
a time step are visible, officially 19, and maps have the resolution of cubes, see masks/warped.py.
bfloat16 instead of float16. Ours: the decoders of variants other than B, which are VideoMAE's with
4 blocks, and all of small and tiny.

Published results to expect (top-1 after fine-tuning, official MODEL_ZOO.md; not yet reproduced by
us): B, Kinetics-400 81.2 (800 epochs, as they count), 81.8 (1600); Something-Something V2 71.0
(800), 72.3 (2400).
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config import recipes_videomae as shared
from maskmim.config.defaults import field
from maskmim.masks import warped
from maskmim.teachers.given_flow import given_flow
from maskmim.teachers.lucas_kanade import lucas_kanade

SYSTEMS = (54,)

DECODERS = {"S": "4x192x3", "B": "4x384x6", "L": "4x512x8", "H": "4x640x8"}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg, path="", test="", variant="B", epochs=200.0, found=False, small=False, tiny=False
    )
    config = base()
    shared.clips(config)
    config.mask = brick(warped.tube, ratio=0.9)
    if choice["tiny"]:
        tiny(config, choice["found"])
    elif choice["small"]:
        shared.small(config)
        set_flow(config, choice["found"])
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.video_data(config, choice["path"], choice["test"])
    return config


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on Kinetics-400."""
    shared.network(config, variant, recipes.pick_option("variant", variant, DECODERS))
    config.teachers = {"motion": brick(lucas_kanade, levels=4, radius=4)}
    config.data.repeats = 4
    length = {"epochs": epochs, "warmup": 20.0, "batch_size": 1536}
    shared.training(config, lr=1e-3, lr_per=1024, **length)


def tiny(config: ConfigDict, found: bool) -> None:
    """Set a few steps of a very small model."""
    shared.tiny(config)
    set_flow(config, found)


def set_flow(config: ConfigDict, found: bool) -> None:
    """Set the teacher of the flow of small clips: their own flow, or one that is found."""
    if found:
        config.teachers = {"motion": brick(lucas_kanade, levels=2, radius=4)}
        return
    config.input.fields = {"flow": field(shape=(*config.input.size, 2))}
    config.teachers = {"motion": brick(given_flow)}
