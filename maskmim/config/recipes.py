"""Recipes that several configs share: functions that set sections of a config in place."""

from __future__ import annotations

from ml_collections import ConfigDict

from maskmim.config.bricks import brick


def mae_imagenet(config: ConfigDict, variant: str, epochs: float) -> None:
    """MAE's published recipe on ImageNet-1k (official PRETRAIN.md)."""
    name, patch = variant.split("/")
    config.model = brick(
        "maskmim.models.masked_vit.vit_mae",
        variant=name,
        patch=(int(patch), int(patch)),
        decoder_depth=8,
        decoder_width=512,
        decoder_heads=16,
        dtype="bfloat16",
    )
    config.data.train = brick("maskmim.data.tfds_source.tfds", name="imagenet2012", split="train")
    config.evals.train = config.data.train
    config.evals.test = brick(
        "maskmim.data.tfds_source.tfds", name="imagenet2012", split="validation"
    )
    config.data.workers = 16
    config.train.epochs = epochs
    config.train.batch_size = 4096
    config.optim = brick("maskmim.optim.adamw", lr=1.5e-4, b1=0.9, b2=0.95, weight_decay=0.05)
    config.schedule = brick("maskmim.schedules.warmup_cosine", warmup_epochs=40.0)


def adamw_cosine(
    config: ConfigDict,
    *,
    batch_size: int,
    lr: float,
    lr_per: int = 0,
    b2: float = 0.999,
    weight_decay: float = 0.05,
    clip_norm: float = float("inf"),
    warmup_epochs: float,
    final: float = 0.0,
) -> None:
    """AdamW with beta 1 0.9, a warm-up and half a cosine, as most successors of BEiT train.

    lr, lr_per: as `maskmim.optim.adamw`. final: the last rate as a share of the peak.
    """
    config.train.batch_size = batch_size
    config.optim = brick(
        "maskmim.optim.adamw",
        lr=lr,
        lr_per=lr_per,
        b1=0.9,
        b2=b2,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
    )
    config.schedule = brick(
        "maskmim.schedules.warmup_cosine", warmup_epochs=warmup_epochs, final=final
    )


def matched(head: str, target: str, loss: str) -> ConfigDict:
    """An objective that matches a head with a target, both bricks as they come.

    target, loss: dotted paths within maskmim, such as 'targets.pixels.patches'.
    """
    return brick(
        "maskmim.objectives.match",
        head=head,
        target=brick(f"maskmim.{target}"),
        loss=brick(f"maskmim.{loss}"),
    )


def tiny(config: ConfigDict) -> None:
    """A few steps of a very small model on the embedded photographs."""
    config.input.size = (32, 32)
    config.model = brick(
        "maskmim.models.masked_vit.vit_mae",
        variant="nano",
        patch=(8, 8),
        decoder_depth=1,
        decoder_width=32,
        decoder_heads=2,
    )
    config.data.train = brick("maskmim.data.grocery.grocery", split="val")
    config.train.epochs = 0.25
    config.train.batch_size = 16
    config.schedule = brick("maskmim.schedules.warmup_cosine", warmup_epochs=0.1)
    config.evals.at_end = ("reconstruction",)
    config.log.every_steps = 1


def videos(config: ConfigDict, path: str, test: str) -> None:
    """Videos below a folder; with a test folder both have classes as first subfolders."""
    kind = "labelled" if test else "unlabelled"
    config.data.train = brick(f"maskmim.data.video_folder.{kind}", path=path)
    config.evals.train = config.data.train if test else None
    config.evals.test = brick("maskmim.data.video_folder.labelled", path=test) if test else None
    config.data.workers = 16
    config.evals.batch_size = 64


def pans(config: ConfigDict) -> None:
    """Synthetic clips of the embedded photographs."""
    config.data.train = brick("maskmim.data.pans.pans", split="val", frames=12, side=40)
    config.evals.train = config.data.train
    config.evals.test = config.data.train


def clips(config: ConfigDict, *, frames: int, stride: int) -> None:
    """How frames are taken from a video: so many, every `stride`-th."""
    config.data.decode = brick("maskmim.data.clips.random_clip", frames=frames, stride=stride)
    config.evals.decode = brick("maskmim.data.clips.centre_clip", frames=frames, stride=stride)
