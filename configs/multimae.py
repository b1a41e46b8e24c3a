"""MultiMAE: Multi-modal Multi-task Masked Autoencoders (arXiv 2204.01678), ImageNet-1k.

  python -m maskmim.train --config multimae:path=/data/imagenet/train --workdir runs/multimae
  python -m maskmim.train --config multimae:small --workdir runs/multimae_small

After the colon: variant=B/16 | L/16, epochs=N; path=FOLDER with the folders rgb, depth and
semseg_coco, in which files of the same name belong together, as in the official SETUP.md;
val=FOLDER of this kind for evaluation; small (minutes on a CPU) and tiny (seconds), both on the
embedded photographs.

Three streams of a picture go through one encoder, which sees 98 of their 3 x 196 tokens; how many
of each is drawn from a Dirichlet distribution. Four decoders predict hidden pixels, hidden pixels
normalised by patch, depth and the map of COCO's 133 classes at a quarter of the resolution. Depth
and classes are pseudo labels (DPT-Hybrid of Omnidata, 16-bit PNG; Mask2Former, PNG of one channel).
Recipe of cfgs/pretrain/multimae-b_98_rgb+-depth-semseg_1600e.yaml: AdamW (0.9, 0.95), weight decay
0.05 on every parameter, as the official script makes one group of all, learning rate 1e-4 per 256
examples at batch size 2048, 40 epochs of warm-up, cosine to 0, one crop of 20 to 100 % and one flip
for all streams. Differences: an epoch is every picture exactly once; bfloat16 in place of float16.

small and tiny make the other streams of the photograph itself, which is ours: a blurred grey
picture in place of depth, and a map of 27 colours in place of the classes.

Published results to expect (official README; not yet reproduced by us): B/16, 1600 epochs: ImageNet
83.3 after fine-tuning; NYUv2 segmentation 52.0 from pictures, 56.0 from pictures and depth.
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.defaults import stream
from maskmim.data import decode, derived_streams, joint_crop, label_maps, stream_folders
from maskmim.data.decode_each import each
from maskmim.data.grocery import grocery
from maskmim.data.transforms import random_resized_crop_flip, resize_center_crop
from maskmim.losses import absolute_error, squared_error
from maskmim.masks import modalities
from maskmim.modalities import class_map
from maskmim.models.layers.compute import compute
from maskmim.models.multimae import multimae
from maskmim.objectives import classify_map, in_stream, match
from maskmim.optim import adamw
from maskmim.schedules import warmup_cosine
from maskmim.targets.pixels import normalised_patches, patches

SYSTEMS = (60,)

SEEN = 1 / 6  # share of the tokens that are visible, 98 of 588
COCO_CLASSES, COLOUR_LEVELS = 133, 3
FOLDERS = {"image": "rgb", "depth": "depth", "semseg": "semseg_coco"}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg, variant="B/16", epochs=1600.0, path="imagenet/train", val="", small=False, tiny=False
    )
    config = base()
    config.mask = brick(modalities.dirichlet, ratio=1 - SEEN, alpha=1.0)
    if choice["tiny"] or choice["small"]:
        derived(config, side=32 if choice["tiny"] else 64)
        objectives(config, amounts="grey", classes="colours")
        (tiny if choice["tiny"] else small)(config)
    else:
        pseudo_labels(config, choice["path"], choice["val"])
        objectives(config, amounts="depth", classes="semseg")
        published(config, choice["variant"], choice["epochs"])
    return config


def objectives(config: ConfigDict, *, amounts: str, classes: str) -> None:
    """Set the four objectives, each a mean over examples of means over their hidden tokens."""

    def mean(name: str, of: ConfigDict) -> ConfigDict:
        return brick(in_stream, stream=name, of=of, per_example=True)

    def pixels(head: str, target: object, loss: object) -> ConfigDict:
        return brick(match, head=head, target=brick(target), loss=brick(loss))

    config.objectives = {
        "image": mean("image", pixels("image", patches, squared_error)),
        "normalised": mean("image", pixels("normalised", normalised_patches, squared_error)),
        amounts: mean(amounts, pixels(amounts, patches, absolute_error)),
        classes: mean(classes, brick(classify_map, head=classes)),
    }


def heads(amounts: str, classes: str) -> dict[str, str]:
    """Return the heads and their streams."""
    return {"image": "image", "normalised": "image", amounts: amounts, classes: classes}


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the network and the recipe on ImageNet-1k."""
    config.model = brick(
        multimae,
        **recipes.vit_size(variant),
        heads=heads("depth", "semseg"),
        standardised=("depth",),
        float32_heads=("semseg",),
        compute=brick(compute, dtype="bfloat16"),
    )
    config.train.epochs = epochs
    config.train.batch_size = 2048
    recipes.adamw_cosine(
        config,
        lr=1e-4,
        lr_per=256,
        b2=0.95,
        warmup_epochs=recipes.warmup(epochs, 40.0),
        no_decay=(),
    )


def pseudo_labels(config: ConfigDict, path: str, val: str) -> None:
    """Set the streams of ImageNet-1k and its pseudo labels, read from folders."""
    config.input.streams = {
        "depth": stream(channels=1, mean=(0.0,), std=(1.0,), dtype="float32"),
        "semseg": stream(size=(56, 56), channels=1, classes=COCO_CLASSES, kind=brick(class_map)),
    }
    decoders = {
        "image": brick(decode.picture),
        "depth": brick(decode.scaled),
        "semseg": brick(label_maps.label_map, classes=COCO_CLASSES),
    }
    nearest = ("semseg",)
    train, test = (
        brick(stream_folders.labelled, path=each_path, streams=FOLDERS) if each_path else None
        for each_path in (path, val)
    )
    config.data.train = train
    config.data.workers = 16
    config.data.decode = config.evals.decode = brick(each, streams=decoders)
    config.data.augment = brick(joint_crop.joint_crop, nearest=nearest)
    config.evals.transform = brick(joint_crop.joint_center_crop, nearest=nearest)
    config.evals.train, config.evals.test = (train, test) if val else (None, None)


def derived(config: ConfigDict, *, side: int) -> None:
    """Set three streams that are made of the embedded photographs."""
    config.input.size = (side, side)
    config.input.streams = {
        "grey": stream(channels=1, mean=(0.5,), std=(0.25,)),
        "colours": stream(
            size=(side // 4, side // 4),
            channels=1,
            classes=COLOUR_LEVELS**3,
            kind=brick(class_map),
        ),
    }
    make = derived_streams.grey_and_colours
    crops = {"augment": random_resized_crop_flip, "transform": resize_center_crop}
    made = {key: brick(make, crop=brick(crop), levels=COLOUR_LEVELS) for key, crop in crops.items()}
    config.data.augment, config.evals.transform = made["augment"], made["transform"]


def small(config: ConfigDict) -> None:
    """Set a small network that trains for minutes on two CPU cores (ours)."""
    config.model = brick(
        multimae,
        variant="micro",
        patch=(8, 8),
        heads=heads("grey", "colours"),
        standardised=("grey",),
        decoder_width=64,
        decoder_heads=4,
    )
    config.train.epochs = 10.0
    config.train.batch_size = 64
    config.optim = brick(adamw, lr=1.5e-3, lr_per=64)
    config.schedule = brick(warmup_cosine, warmup_epochs=1.0)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    config.data.train = brick(grocery, split="val")
    config.model = brick(
        multimae,
        variant="nano",
        patch=(8, 8),
        heads=heads("grey", "colours"),
        class_width=8,
        standardised=("grey",),
        decoder_depth=1,
        decoder_width=32,
        decoder_heads=2,
    )
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)
