"""Quickstart: a small ViT learns from the embedded Grocery Store photographs, on two CPU cores.

  python -m maskmim.train --config configs/quickstart.py --workdir runs/quickstart

After the colon: mask=green | red | blue | purple | white | random; epochs=N.

ColorMAE (arXiv 2407.13036) with green-noise masks, MAE's objective, photographs at 96 px (MIT
licence, 5,421 photographs, 81 fine and 43 coarse classes; 2,936 for training, 2,485 for testing,
taken in other stores). Differs from the published recipe in size only, and in the learning rate
that goes with it. Nothing is downloaded. The README says what comes out and how long it takes.
"""

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base
from maskmim.config.python_file import parse_argument


def get_config(arg: str = "") -> ConfigDict:
    """The config for what stands after the colon."""
    choice = parse_argument(arg, mask="green", epochs=30.0)
    config = base()
    config.input.size = (96, 96)
    config.model = brick(
        "maskmim.models.masked_vit.vit_mae",
        variant="mini",
        patch=(12, 12),
        decoder_depth=1,
        decoder_width=96,
        decoder_heads=3,
    )
    module = "uniform" if choice["mask"] == "random" else "colour"
    config.mask = brick(f"maskmim.masks.{module}.{choice['mask']}", ratio=0.75)
    config.train.epochs = choice["epochs"]
    config.train.batch_size = 64
    config.optim = brick("maskmim.optim.adamw", lr=1.5e-3, lr_per=64)
    config.schedule = brick("maskmim.schedules.warmup_cosine", warmup_epochs=3.0)
    config.checkpoint.every_epochs = 2.0
    return config
