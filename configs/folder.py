"""Pretraining on a folder of your own images, with or without classes.

  python -m maskmim.train --config folder:/data/photos --workdir runs/photos
  python -m maskmim.train --config folder:/data/train,test=/data/val,size=96,variant=mini \\
      --workdir runs/classes
  python -m maskmim.train --config folder:shards=/data/shards --workdir runs/shards

After the colon: path=DIR (searched with all its subfolders; path= may be left out), or shards=DIR
(a folder that python -m maskmim.convert wrote); test=DIR (of the same kind, with the same classes:
then the first level of subfolders of both names classes, and kNN and a linear probe run at the
end); labelled (classes without a test folder); size=N pixels; variant=S (any of
maskmim.models.vit.variant, or with its patch size, S/8); patch=N, 16 unless the variant says it;
decoder=DEPTHxWIDTH, or DEPTHxWIDTHxHEADS; epochs=N, of which a tenth is warm-up; batch=N; lr=RATE,
the peak; mask=green | red | blue | purple | white | random. A path with a comma stands in quotes:
'folder:path="/data/a,b"'.

MAE's objective (see configs/mae.py) with ColorMAE's masks. Two things are ours, for networks and
batches that are smaller than the published ones:

  decoder  for a width of 768 and more MAE's, 8 blocks of width 512; below, half the encoder's width
           and a third of its depth: 4 blocks of width 192 for S
  lr       MAE's 2.4e-3 for 4096 images, times the square root of batch / 4096: 6e-4 for 256, 3e-4
           for 64; MAE's rule, in proportion to the batch, gives 1.5e-4 and 3.75e-5

Measured once, on two cores shared with other work: mini at 96 px, patches of 12, 64 images a batch,
random masks, 2,936 photographs of groceries. With this decoder (0.4 GFLOP an image, some 100 images
a second) the loss after 275 steps, 2 to 3 minutes of them, was 0.865 at MAE's rate and 0.718 at
this one; 0.714 at 6e-4, 0.706 at 1.5e-3, 0.694 at 3e-3, so that lr may be worth a try. With MAE's
decoder (10.5 GFLOP, 8 images a second) it was 0.877 after 46 steps, 6 minutes, at MAE's rate, and
0.816 at 1.5e-3. kNN after so few steps says little: 17.8 to 21.4 with standard errors of 0.8, and
17.2 for a random encoder.

Crops keep 20 to 100 % of a picture, which suits pictures that their content fills evenly, such as
textures or scans; for small objects raise --config.data.augment.scale=0.5,1.
"""

import math
import re

from ml_collections import ConfigDict

from maskmim.config import ConfigError, base, brick, parse_argument, recipes
from maskmim.data import array_record, folder
from maskmim.masks import colour, uniform
from maskmim.models import vit
from maskmim.models.masked_vit import vit_mae
from maskmim.optim import adamw
from maskmim.schedules import warmup_cosine

MASKS = {
    "green": colour.green,
    "red": colour.red,
    "blue": colour.blue,
    "purple": colour.purple,
    "white": colour.white,
    "random": uniform.random,
}
MAE_DECODER = (8, 512, 16)  # depth, width, heads
MAE_RATE, MAE_BATCH = 2.4e-3, 4096
HEAD = 32  # width of a decoder's head


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        bare="path",
        path="",
        shards="",
        test="",
        labelled=False,
        size=224,
        variant="S",
        patch=0,
        decoder="",
        epochs=300.0,
        batch=256,
        lr=0.0,
        mask="green",
    )
    config = base()
    config.input.size = (choice["size"], choice["size"])
    config.model = model(choice["variant"], choice["patch"], choice["decoder"])
    config.mask = brick(recipes.pick_option("mask", choice["mask"], MASKS), ratio=0.75)
    config.train.epochs = choice["epochs"]
    config.train.batch_size = choice["batch"]
    rate = MAE_RATE * math.sqrt(max(choice["batch"], 1) / MAE_BATCH)
    config.optim = brick(adamw, lr=choice["lr"] or rate, lr_per=0)
    config.schedule = brick(warmup_cosine, warmup_epochs=choice["epochs"] / 10)
    images(config, choice["path"], choice["shards"], choice["test"], choice["labelled"])
    return config


def model(variant: str, patch: int, decoder: str) -> ConfigDict:
    """Return the network: MAE's ViT with a decoder that fits the encoder's size."""
    name, slash, _ = variant.partition("/")
    if slash and patch:
        raise ConfigError(f"variant={variant},patch={patch}: give the patch size once")
    side = (
        (patch, patch) if patch else recipes.vit_size(variant if slash else f"{name}/16")["patch"]
    )
    depth, width, heads = read_decoder(decoder) if decoder else decoder_for(name)
    return brick(
        vit_mae,
        variant=name,
        patch=side,
        decoder_depth=depth,
        decoder_width=width,
        decoder_heads=heads,
    )


def decoder_for(variant: str) -> tuple[int, int, int]:
    """Return depth, width and heads of the decoder for a variant of the encoder."""
    size = vit.variant(variant)
    if size.width >= 768:
        return MAE_DECODER
    heads = max(1, size.width // 2 // HEAD)
    return max(1, size.depth // 3), heads * HEAD, heads


def read_decoder(text: str) -> tuple[int, int, int]:
    """Return depth, width and heads of '4x192' (heads of 32 values) or '4x192x3'."""
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*(x[1-9]\d*)?", text):
        raise ConfigError(
            f"decoder={text}: write blocks x width, as in 4x192, or 4x192x3 with heads"
        )
    depth, width, *given = map(int, text.split("x"))
    heads = given[0] if given else max(1, width // HEAD)
    if width % heads or width % 4:
        raise ConfigError(
            f"decoder={text}: the width must be a multiple of 4 and of its {heads} heads; name the "
            "heads, as in 4x192x3, or take a multiple of 32"
        )
    return depth, width, heads


def images(config: ConfigDict, path: str, shards: str, test: str, labelled: bool) -> None:
    """Set the images of `data` and `evals`; with `test`, those of `evals` have classes."""
    if path and shards:
        raise ConfigError(f"path={path},shards={shards}: give one of them")
    if shards:
        source = array_record.shards
    else:
        source = folder.labelled if labelled or test else folder.unlabelled
    config.data.train = brick(source, path=shards or path)
    config.evals.train = brick(source, path=shards or path) if test else None
    config.evals.test = brick(source, path=test) if test else None
