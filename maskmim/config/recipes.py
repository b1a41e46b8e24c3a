"""Parts of recipes that configs share; no two parts set the same key.

Config files name bricks by function; here they are named by path, because the packages of the
bricks import maskmim.config.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.parse import ConfigError

T = TypeVar("T")

PUBLISHED_PATCHES = {"H": "14", "g": "14"}

# The network of small runs on pictures of 64 x 64 pixels, as keywords (ours).
SMALL_VIT = {
    "variant": "micro",
    "patch": (8, 8),
    "decoder_depth": 1,
    "decoder_width": 64,
    "decoder_heads": 2,
}
# The smallest network, of a few steps on pictures of 32 x 32 pixels (ours).
TINY_VIT = {
    "variant": "nano",
    "patch": (8, 8),
    "decoder_depth": 1,
    "decoder_width": 32,
    "decoder_heads": 2,
}
# The same without a decoder.
SMALL_ENCODER, TINY_ENCODER = (
    {"variant": size["variant"], "patch": size["patch"]} for size in (SMALL_VIT, TINY_VIT)
)


def pick_option(name: str, value: str, options: Mapping[str, T]) -> T:
    """Return the option that an argument names; raise ConfigError, listing them, if none is."""
    if value in options:
        return options[value]
    *others, last = options
    known = f"{', '.join(others)} or {last}" if others else last
    raise ConfigError(f"{name}={value}: use {known}")


def vit_size(name: str) -> dict[str, Any]:
    """Split the name of a ViT into keywords: 'L/16' -> {'variant': 'L', 'patch': (16, 16)}.

    Without a patch size it is 14 for H and g, as published, and 16 for all others.
    """
    variant, slash, patch = name.partition("/")
    if not slash:
        patch = PUBLISHED_PATCHES.get(variant, "16")
    if not variant or not patch.isdecimal() or int(patch) < 1:
        raise ConfigError(f"variant={name}: name the width and the patch size, as in L/16")
    return {"variant": variant, "patch": (int(patch), int(patch))}


def vit_of_patch_16(name: str) -> str:
    """Return the variant of a network whose patches have 16 pixels: 'B' for 'B' and 'B/16'."""
    variant, slash, patch = name.partition("/")
    if slash and patch != "16":
        raise ConfigError(f"variant={name}: the patches have 16 pixels here, as in {variant}/16")
    return variant


def warmup(epochs: float, published: float) -> float:
    """Return the epochs of warm-up: the published number, but at most a fifth of a training."""
    return min(published, epochs / 5)


def match_objective(head: str, target: Callable | str, loss: Callable | str) -> ConfigDict:
    """Return an objective that compares a head with a target, both bricks with their defaults."""
    return brick("maskmim.objectives.match", head=head, target=brick(target), loss=brick(loss))


def adamw_cosine(
    config: ConfigDict,
    *,
    lr: float,
    lr_per: int = 0,
    b2: float = 0.999,
    weight_decay: float = 0.05,
    warmup_epochs: float,
    final: float = 0.0,
    **others: Any,
) -> None:
    """Set `optim` and `schedule`: AdamW with beta 1 of 0.9, a warm-up and half a cosine.

    lr, lr_per, others: as in `maskmim.optim.adamw`. final: the last learning rate as a share of the
    peak.
    """
    config.optim = brick(
        "maskmim.optim.adamw",
        lr=lr,
        lr_per=lr_per,
        b1=0.9,
        b2=b2,
        weight_decay=weight_decay,
        **others,
    )
    config.schedule = brick(
        "maskmim.schedules.warmup_cosine", warmup_epochs=warmup_epochs, final=final
    )


def mae_training(
    config: ConfigDict, epochs: float, *, batch_size: int = 4096, **others: Any
) -> None:
    """Set the length, `optim` and `schedule` of MAE's recipe: 1.5e-4 per 256 images, 40 of warm-up.

    others: as in `maskmim.optim.adamw`.
    Source: PRETRAIN.md of facebookresearch/mae.
    """
    config.train.epochs = epochs
    config.train.batch_size = batch_size
    warm = warmup(epochs, 40.0)
    adamw_cosine(config, lr=1.5e-4, lr_per=256, b2=0.95, warmup_epochs=warm, **others)


def small_training(config: ConfigDict, epochs: float = 10.0) -> None:
    """Set the length, `optim` and `schedule` of minutes on the embedded photographs (ours)."""
    config.train.epochs = epochs
    config.train.batch_size = 64
    adamw_cosine(config, lr=1e-3, lr_per=0, b2=0.95, warmup_epochs=1.0)


def small_model(config: ConfigDict, model: ConfigDict) -> None:
    """Set `input.size`, `model` and the training of minutes on the embedded photographs (ours).

    model: the section of a network for pictures of 64 x 64 pixels, such as one of SMALL_VIT.
    """
    config.input.size = (64, 64)
    config.model = model
    small_training(config)


def imagenet_data(config: ConfigDict, shards: str = "") -> None:
    """Set the images of `data` and `evals`: ImageNet-1k.

    shards: folder that `maskmim.convert --source imagenet:PATH` wrote; '' for the data set of
    tensorflow-datasets.
    """
    train, test = (
        (shards_of(shards, tag="train"), shards_of(shards, tag="val"))
        if shards
        else (imagenet("train"), imagenet("validation"))
    )
    config.data.train = train
    config.data.workers = 16
    config.evals.train = train
    config.evals.test = test


def imagenet(split: str) -> ConfigDict:
    """Return a split of ImageNet-1k as a data source."""
    return brick("maskmim.data.tfds_source.tfds", name="imagenet2012", split=split)


def shards_of(path: str, tag: str = "") -> ConfigDict:
    """Return a folder of shards, or those with a tag, as a data source."""
    return brick("maskmim.data.array_record.shards", path=path, tag=tag)


def video_data(config: ConfigDict, path: str, test: str) -> None:
    """Set the videos of `data` and `evals`: those below a folder.

    test: '' for a folder without classes, or another folder; then the first level of subfolders of
    both names the classes.
    """
    labelled = "maskmim.data.video_folder.labelled"
    unlabelled = "maskmim.data.video_folder.unlabelled"
    config.data.train = brick(labelled if test else unlabelled, path=path)
    config.data.workers = 16
    config.evals.train = brick(labelled, path=path) if test else None
    config.evals.test = brick(labelled, path=test) if test else None
    config.evals.batch_size = 64


def clip_decoding(config: ConfigDict, *, frames: int, stride: int) -> None:
    """Set `decode` of `data` and `evals`: clips of every `stride`-th frame of a video."""
    config.data.decode = brick("maskmim.data.clips.random_clip", frames=frames, stride=stride)
    config.evals.decode = brick("maskmim.data.clips.centre_clip", frames=frames, stride=stride)


def tiny_images(config: ConfigDict, side: int = 32) -> None:
    """Set `input.size` and the images of `data`: the smallest split of the embedded photographs."""
    config.input.size = (side, side)
    config.data.train = brick("maskmim.data.grocery.grocery", split="val")


def tiny_videos(config: ConfigDict) -> None:
    """Set the videos of `data` and `evals`: synthetic clips of the embedded photographs."""
    clips = brick("maskmim.data.pans.pans", split="val", frames=12, side=40)
    config.data.train = config.evals.train = config.evals.test = clips


def moving_objects(
    config: ConfigDict,
    *,
    frames: int = 8,
    side: int = 64,
    counts: tuple[int, int] = (2048, 512),
) -> None:
    """Set `input.size` and the videos of `data` and `evals`: cut-outs that move over photographs.

    counts: clips to train on and to evaluate on, of other photographs.
    """
    config.input.size = (frames, side, side)
    made = {"frames": frames, "size": (side, side)}
    sprites = "maskmim.data.sprites.sprites"
    config.data.train = config.evals.train = brick(sprites, split="train", count=counts[0], **made)
    config.evals.test = brick(sprites, split="test", count=counts[1], **made)
    clip_decoding(config, frames=frames, stride=1)
    config.data.augment = config.evals.transform = brick("maskmim.data.sprites.as_made")


def tiny_run(
    config: ConfigDict, *, epochs: float = 0.25, at_end: tuple[str, ...] = ("reconstruction",)
) -> None:
    """Set the length of a few small steps, their log, and the evaluation at the end."""
    config.train.epochs = epochs
    config.train.batch_size = 16
    config.log.every_steps = 1
    config.evals.at_end = at_end


def tiny_schedule(config: ConfigDict) -> None:
    """Set `schedule`: a short warm-up and half a cosine."""
    config.schedule = brick("maskmim.schedules.warmup_cosine", warmup_epochs=0.1)


def tiny_model(config: ConfigDict, model: ConfigDict) -> None:
    """Set `input.size`, `model`, `data` and the training of a few steps on photographs.

    model: the section of a network for pictures of 32 x 32 pixels, such as one of TINY_VIT.
    """
    tiny_images(config)
    config.model = model
    tiny_run(config)
    tiny_schedule(config)
