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

from maskmim import modalities
from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.defaults import norm_pix_objective
from maskmim.data import clip_transforms, sound, sound_folder, spectrograms, tones
from maskmim.losses import squared_error
from maskmim.masks import spread_blue, structured, uniform, video
from maskmim.models.audio_mae import vit_audio_mae
from maskmim.models.layers.compute import compute
from maskmim.models.videomae import vit_videomae
from maskmim.optim import adamw
from maskmim.targets import cubes

SYSTEMS = (115,)

VIDEO_MASKS = {"structured": structured.green3d, "random": uniform.random, "tube": video.tube}
AUDIO_MASKS = {"structured": spread_blue.spread_blue, "random": uniform.random}
NO_DECAY = (r"(^|/)(bias|scale|mask_token)$",)
MEAN, STD = -4.2677393, 4.5689974  # of AudioSet's log-mel energies


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
    (spectrogram_input if is_audio else video_input)(config)
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


def video_input(config: ConfigDict) -> None:
    """Set clips as what enters, and VideoMAE's objective."""
    config.input.stream = "video"
    config.input.kind = brick(modalities.clip)
    target = cubes.normalised_cubes
    config.objectives = {"pixels": recipes.match_objective("pixels", target, squared_error)}


def spectrogram_input(config: ConfigDict) -> None:
    """Set spectrograms as what enters, as Audio-MAE makes them, and its objective."""
    config.input.update(stream="audio", channels=1, dtype="float32", mean=(MEAN,), std=(2 * STD,))
    config.input.kind = brick(modalities.spectrogram)
    config.objectives = {"pixels": norm_pix_objective()}
    config.data.decode = brick(sound.waveform)
    config.evals.decode = None  # as data.decode, so that evaluations have the same sample rate
    config.data.augment = brick(spectrograms.random_stretch, loudness=10.0)
    config.evals.transform = brick(spectrograms.first_stretch)


def published_data(config: ConfigDict, audio: bool, path: str, test: str) -> None:
    """Set files below a folder as the data of the published sizes."""
    if not audio:
        recipes.video_data(config, path, test)
        return
    recordings = brick(sound_folder.recordings, path=path)
    config.data.train = config.evals.train = config.evals.test = recordings
    config.data.workers = 16


def published(config: ConfigDict, audio: bool, epochs: float) -> None:
    """Set the network and the recipe of the host."""
    (published_audio if audio else published_video)(config)
    length, warm = (33.0, 3.0) if audio else (800.0, 40.0)
    config.train.epochs = epochs or length
    config.train.batch_size = 512 if audio else 2048
    warmup = recipes.warmup(config.train.epochs, warm)
    common = {"lr_per": 256, "b2": 0.95, "warmup_epochs": warmup}
    if audio:
        recipes.adamw_cosine(config, lr=2e-4, weight_decay=1e-4, **common)
    else:
        final = 1e-5 / 1.5e-4
        recipes.adamw_cosine(config, lr=1.5e-4, no_decay=NO_DECAY, final=final, **common)


def published_video(config: ConfigDict) -> None:
    """Set VideoMAE ViT-B on 16 frames of 224 pixels."""
    config.input.size = (16, 224, 224)
    config.model = brick(
        vit_videomae,
        variant="B",
        patch=(2, 16, 16),
        decoder="4x384x6",
        compute=brick(compute, dtype="bfloat16"),
    )
    recipes.clip_decoding(config, frames=16, stride=4)
    config.data.augment = brick(clip_transforms.multi_scale_crop)
    config.evals.transform = brick(clip_transforms.centre_crop)


def published_audio(config: ConfigDict) -> None:
    """Set Audio-MAE ViT-B on 10 seconds."""
    config.input.size = (1024, 128)
    config.model = brick(vit_audio_mae, variant="B", compute=brick(compute, dtype="bfloat16"))


def small(config: ConfigDict, audio: bool) -> None:
    """Set minutes of a small model on synthetic data; sizes and rates are ours."""
    (small_audio if audio else small_video)(config)
    recipes.small_training(config)
    if not audio:
        config.optim.no_decay = NO_DECAY


def tiny(config: ConfigDict, audio: bool) -> None:
    """Set a few steps of a very small model on synthetic data."""
    (tiny_audio if audio else tiny_video)(config)
    recipes.tiny_schedule(config)


def small_video(config: ConfigDict) -> None:
    """Set a small model on clips of moving objects."""
    recipes.moving_objects(config)
    config.model = brick(vit_videomae, variant="micro", patch=(2, 8, 8), decoder="2x64x2")


def small_audio(config: ConfigDict) -> None:
    """Set a small model on synthetic tones of 1.3 s."""
    config.input.size = (128, 64)
    audio_model(config, "micro", 64)
    config.data.train = config.evals.train = brick(tones.tones, count=2048, seconds=1.3)
    config.evals.test = brick(tones.tones, count=512, seconds=1.3, seed=1)


def tiny_video(config: ConfigDict) -> None:
    """Set a very small model on clips of moving objects."""
    recipes.moving_objects(config, side=32, counts=(64, 32))
    config.model = brick(vit_videomae, variant="nano", patch=(2, 8, 8), decoder="1x32x2")
    recipes.tiny_run(config)
    config.optim = brick(adamw, no_decay=NO_DECAY)


def tiny_audio(config: ConfigDict) -> None:
    """Set a very small model on synthetic tones of 0.6 s."""
    config.input.size = (64, 32)
    audio_model(config, "nano", 32)
    config.data.train = config.evals.train = brick(tones.tones, count=96, seconds=0.6)
    config.evals.test = brick(tones.tones, count=48, seconds=0.6, seed=1)
    recipes.tiny_run(config, epochs=1.0)


def audio_model(config: ConfigDict, variant: str, width: int) -> None:
    """Set a small Audio-MAE with patches of 8 x 8."""
    decoder = {"decoder_depth": 2, "decoder_width": width, "decoder_heads": 2}
    config.model = brick(vit_audio_mae, variant=variant, patch=(8, 8), **decoder)
