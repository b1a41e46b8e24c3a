"""CrossVideoMAE: self-supervised image-video representation learning (arXiv 2502.07811).

  python -m maskmim.train --config cross_video_mae:path=/data/k400/train --workdir runs/cross_video
  python -m maskmim.train --config cross_video_mae:small --workdir runs/cross_video_small

After the colon: path=DIR and test=DIR (as of mae_st); variant=B/16 (and any of
maskmim.models.vit.variant), of both branches; image=trained | frozen; cross=False leaves the terms
between clip and frames out, for comparison; epochs=N; small (minutes on a CPU) and tiny (seconds),
both on synthetic clips.

Two crops of a clip and single frames of it (data/clip_frames.py) are masked, each by itself: 95 %
of the cubes of a clip, 90 % of the patches of a frame. A masked autoencoder of clips, MAE-ST's,
predicts both crops of the clip, one of pictures, MAE's, the frames. The means of visible tokens go
through a projector for each branch, and NT-Xent compares them: one crop of the clip with the other
(intra), the mean of both with the mean of the frames (cross, of the whole video), and with each
frame (cross, of frames). With image=frozen the image branch keeps the weights that the run begins
from, predicts nothing, and the cross terms teach the video branch and the projectors alone. The
video branch stands under MAE-ST's names, which fine-tuning and config.begin know; the image branch
below 'image/', so that its weights come from a run of this config, or from a file of ours whose
names say so, by --config.begin.take='("^image/",)'. No reader renames those of an MAE.

Only the abstract and notes about the paper could be read, and no code is released. Of these are the
two branches (ViT-B/16, MAE-ST and a pretrained MAE), pooled visible tokens behind projection heads,
the intra-modal and the cross-modal term at both levels beside both reconstructions, and ratios of
90 to 95 % and 75 to 90 %. Ours: that NT-Xent is taken between modalities too (notes also name an
MSE), equal weights of all terms, the temperature 0.1, projectors of two layers (hidden 2048, 256
values), two frames, one of each half of the clip, crops of 50 to 100 % and flips without changed
colours (notes name some), and the rest of the recipe: MAE-ST's rate for 512 clips, AdamW
(0.9, 0.95), 1.6e-3 per 1024, weight decay 0.05, 800 epochs, of which 40 are warm-up, cosine to 0.
That the image branch is trained by default is ours as well: the notes leave it open.

Published results to expect: none known; the numbers of the paper could not be read.
"""

from ml_collections import ConfigDict

from maskmim import modalities
from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.defaults import stream
from maskmim.data import clip_transforms, transforms
from maskmim.data.clip_frames import clip_and_frames
from maskmim.losses import squared_error
from maskmim.masks.modalities import independent
from maskmim.models.cross_video import cross_video
from maskmim.models.layers.compute import compute
from maskmim.models.mae_st import vit_mae_st
from maskmim.models.masked_vit import vit_mae
from maskmim.models.projectors import mlp
from maskmim.objectives import contrast_streams, in_stream, match
from maskmim.optim.frozen import frozen_until
from maskmim.targets.cube_frames import normalised_frames
from maskmim.targets.pixels import normalised_patches

SYSTEMS = (74,)

CLIPS, FRAMES = ("video", "second"), ("frame_1", "frame_2")
RATIO, RATIO_OF_FRAMES = 0.95, 0.9
STATISTICS = {"mean": (0.45,) * 3, "std": (0.225,) * 3}  # MAE-ST's, of clips


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        path="",
        test="",
        variant="B/16",
        image="trained",
        cross=True,
        epochs=800.0,
        small=False,
        tiny=False,
    )
    config = base()
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        recipes.video_data(config, choice["path"], choice["test"])
    finish = recipes.pick_option("image", choice["image"], {"trained": None, "frozen": freeze})
    objectives(config, cross=choice["cross"])
    if finish:
        finish(config)
    return config


def streams(config: ConfigDict, *, frames: int, side: int, ratios: tuple[float, float]) -> None:
    """Set two crops of a clip and its frames as streams, and their masks.

    ratios: hidden shares of a clip and of a frame.
    """
    config.input.update(stream="video", size=(frames, side, side), kind=brick(modalities.clip))
    config.input.update(**STATISTICS)
    second = stream(size=(frames, side, side), kind=brick(modalities.clip), **STATISTICS)
    pictures = {name: stream(size=(side, side)) for name in FRAMES}
    config.input.streams = {"second": second, **pictures}
    of_frames = dict.fromkeys(FRAMES, ratios[1])
    config.mask = brick(independent, ratio=ratios[0], ratios=of_frames)
    crops = {
        "clip": brick(clip_transforms.random_resized_crop_flip, scale=(0.5, 1.0)),
        "picture": brick(transforms.random_resized_crop_flip, scale=(0.5, 1.0)),
    }
    centre = {
        "clip": brick(clip_transforms.centre_crop),
        "picture": brick(transforms.resize_center_crop),
    }
    config.data.augment = brick(clip_and_frames, **crops)
    config.evals.transform = brick(clip_and_frames, **centre)
    config.evals.streams = ("video",)


def network(config: ConfigDict, video: ConfigDict, image: ConfigDict, **sizes: int) -> None:
    """Set the branches, whose masks are those of `config.mask`, and their projectors.

    sizes: of the projectors, as of `models.projectors.mlp`.
    """
    mask = config.mask
    config.model = brick(
        cross_video, video=video, image=image, ratio=mask.ratio, ratios=dict(mask.ratios)
    )
    names = ("video_projector", "image_projector")
    config.calls = {name: brick(mlp, layers=2, **sizes) for name in names}


def objectives(config: ConfigDict, *, cross: bool) -> None:
    """Set the reconstruction of every stream, and the contrasts between them.

    cross: whether those between the clip and its frames are taken.
    """
    terms = {}
    for names, target in ((CLIPS, normalised_frames), (FRAMES, normalised_patches)):
        for name in names:
            how = {"target": brick(target), "loss": brick(squared_error), "scale": 1 / len(names)}
            terms[name] = brick(in_stream, stream=name, of=brick(match, head=name, **how))
    terms["intra"] = contrast(("video",), ("second",), "video_projector")
    if cross:
        terms["cross"] = contrast(CLIPS, FRAMES, "image_projector")
        for name in FRAMES:
            own = contrast(CLIPS, (name,), "image_projector", scale=1 / len(FRAMES))
            terms[f"cross_{name}"] = own
    else:
        del config.calls.image_projector
    config.objectives = terms


def contrast(
    one: tuple[str, ...], other: tuple[str, ...], project_other: str, scale: float = 1.0
) -> ConfigDict:
    """Return the section of a contrast of a clip's crops with other streams."""
    return brick(
        contrast_streams,
        one=one,
        other=other,
        project="video_projector",
        project_other=project_other,
        scale=scale,
    )


def freeze(config: ConfigDict) -> None:
    """Hold the image branch still, which then predicts nothing."""
    for name in FRAMES:
        del config.objectives[name]
    rates = {"lr": config.optim.lr, "lr_per": config.optim.lr_per}
    config.optim = brick(
        frozen_until, optimiser=config.optim, paths=("^image/",), until=1.0, **rates
    )


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on Kinetics-400."""
    streams(config, frames=16, side=224, ratios=(RATIO, RATIO_OF_FRAMES))
    size, how = recipes.vit_size(variant), brick(compute, dtype="bfloat16")
    patch = size["patch"]
    video = brick(
        vit_mae_st,
        variant=size["variant"],
        patch=(2, *patch),
        decoder="4x512x16",
        compute=how,
    )
    image = brick(vit_mae, **size, compute=how)
    network(config, video, image, hidden=2048, values=256)
    recipes.clip_decoding(config, frames=16, stride=4)
    config.train.update(epochs=epochs, batch_size=512)
    recipes.adamw_cosine(
        config, lr=1.6e-3, lr_per=1024, b2=0.95, warmup_epochs=recipes.warmup(epochs, 40.0)
    )


def small(config: ConfigDict) -> None:
    """Set minutes of small branches on clips of moving objects; sizes and rates are ours."""
    recipes.moving_objects(config)
    streams(config, frames=8, side=64, ratios=(0.9, 0.75))
    video = brick(vit_mae_st, variant="micro", patch=(2, 8, 8), decoder="2x64x2")
    network(config, video, brick(vit_mae, **recipes.SMALL_VIT), hidden=256, values=64)
    recipes.small_training(config)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of very small branches on synthetic clips."""
    streams(config, frames=8, side=32, ratios=(0.9, 0.75))
    video = brick(vit_mae_st, variant="nano", patch=(2, 8, 8), decoder="1x32x2")
    network(config, video, brick(vit_mae, **recipes.TINY_VIT), hidden=64, values=16)
    recipes.tiny_videos(config)
    recipes.clip_decoding(config, frames=8, stride=1)
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)
