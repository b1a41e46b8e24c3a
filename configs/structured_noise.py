"""Structured-noise masks for video and audio (arXiv 2503.16311), in VideoMAE and Audio-MAE.

  python -m maskmim.train --config structured_noise:path=/data/k400/train --workdir runs/green
  python -m maskmim.train --config structured_noise:audio,path=/data/audioset --workdir runs/blue
  python -m maskmim.train --config structured_noise:small --workdir runs/green_small
  python -m maskmim.train --config structured_noise:small,mask=tube --workdir runs/tube_small

After the colon: audio (spectrograms in place of videos); path=DIR (videos or sound files, searched
with all its subfolders); test=DIR (of videos: then the first level of subfolders of both names
classes, and a linear probe and kNN run at the end); mask=structured | random, for video also tube
(masks to compare with; tubes hide 1,408 of 1,568 cubes, the others 1,411); epochs=N (0: the
published number); small (minutes on a CPU, on synthetic clips in which one object moves, or on
synthetic tones); tiny (a few small steps).

A host whose masks are filtered noise, and nothing else changed. Video: band-pass noise over time
and space, of which each clip's strongest 10 % of cubes are visible, groups that last for some time
steps (Green3D, masks/structured.py), in VideoMAE ViT-B. Audio: high-pass noise whose visible
patches are moved apart, 20 % of them ('Optim Blue', masks/spread_blue.py), in Audio-MAE ViT-B.
Recipes are the hosts', see configs/videomae.py (here 800 epochs) and configs/audio_mae.py.

No code is published. Ours, as the modules of the masks say: the sigmas and their ranges, the
objective by which patches move apart, and noise that every example draws for itself in place of
stored masks. Ours are also that the mask ratios and epochs are the hosts', that VideoMAE's rate is
that of 1600 epochs, and all of small and tiny. The hosts SIGMA, MaskSpec and CAV-MAE, and masks of
both streams at once, are not included.

Published results to expect: none of which we have figures. The paper reports gains on Kinetics-400,
Something-Something V2, AudioSet and ESC-50, and repetition counting that got worse.
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config import recipes_sound as sounds
from maskmim.config import recipes_videomae as clips
from maskmim.masks import spread_blue, structured, uniform, video
from maskmim.models.audio_mae import vit_audio_mae
from maskmim.models.layers.compute import compute

SYSTEMS = (115,)

VIDEO_MASKS = {"structured": structured.green3d, "random": uniform.random, "tube": video.tube}
AUDIO_MASKS = {"structured": spread_blue.spread_blue, "random": uniform.random}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        audio=False,
        path="",
        test="",
        mask="structured",
        epochs=0.0,
        small=False,
        tiny=False,
    )
    config, is_audio = base(), choice["audio"]
    (sounds.audio_mae_input if is_audio else clips.clips)(config)
    masks, ratio = (AUDIO_MASKS, 0.8) if is_audio else (VIDEO_MASKS, 0.9)
    config.mask = brick(recipes.pick_option("mask", choice["mask"], masks), ratio=ratio)
    if choice["tiny"]:
        tiny(config, is_audio)
    elif choice["small"]:
        small(config, is_audio)
    else:
        published(config, is_audio, choice["epochs"])
        published_data(config, is_audio, choice["path"], choice["test"])
    return config


def published_data(config: ConfigDict, audio: bool, path: str, test: str) -> None:
    """Set files below a folder as the data of the published sizes."""
    if audio:
        sounds.recordings(config, path)
    else:
        recipes.video_data(config, path, test)


def published(config: ConfigDict, audio: bool, epochs: float) -> None:
    """Set the network and the recipe of the host."""
    if audio:
        bfloat16 = brick(compute, dtype="bfloat16")
        config.input.size = (1024, 128)
        config.model = brick(vit_audio_mae, variant="B", compute=bfloat16)
        sounds.training(config, epochs or 33.0)
    else:
        clips.network(config, "B", "4x384x6")
        length = {"epochs": epochs or 800.0, "warmup": 40.0, "batch_size": 2048}
        clips.training(config, lr=1.5e-4, lr_per=256, **length)


def small(config: ConfigDict, audio: bool) -> None:
    """Set minutes of a small model on synthetic data; sizes and rates are ours."""
    if not audio:
        clips.small(config)
        return
    config.input.size = (128, 64)
    audio_model(config, "micro", 64)
    sounds.tones(config, seconds=1.3, counts=(2048, 512))
    recipes.small_training(config)


def tiny(config: ConfigDict, audio: bool) -> None:
    """Set a few steps of a very small model on synthetic data."""
    if not audio:
        clips.tiny(config)
        return
    config.input.size = (64, 32)
    audio_model(config, "nano", 32)
    sounds.tiny(config)


def audio_model(config: ConfigDict, variant: str, width: int) -> None:
    """Set a small Audio-MAE with patches of 8 x 8."""
    decoder = {"decoder_depth": 2, "decoder_width": width, "decoder_heads": 2}
    config.model = brick(vit_audio_mae, variant=variant, patch=(8, 8), **decoder)
