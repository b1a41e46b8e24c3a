"""Parts of recipes that methods on spectrograms share."""

from __future__ import annotations

from ml_collections import ConfigDict

from maskmim.config import recipes
from maskmim.config.bricks import brick
from maskmim.config.defaults import norm_pix_objective

AUDIOSET = -4.2677393, 4.5689974  # mean and deviation of AudioSet's log-mel energies


def spectrograms(config: ConfigDict, *, mean: float, std: float) -> None:
    """Set spectrograms as what enters, made of decoded waveforms."""
    config.input.update(stream="audio", channels=1, dtype="float32", mean=(mean,), std=(std,))
    config.input.kind = brick("maskmim.modalities.spectrogram")
    config.data.decode = brick("maskmim.data.sound.waveform")
    config.evals.decode = None  # as data.decode, so that evaluations have the same sample rate


def audio_mae_input(config: ConfigDict) -> None:
    """Set spectrograms as Audio-MAE makes them, and its objective."""
    mean, std = AUDIOSET
    spectrograms(config, mean=mean, std=2 * std)
    config.objectives = {"pixels": norm_pix_objective()}
    config.data.augment = brick("maskmim.data.spectrograms.random_stretch", loudness=10.0)
    config.evals.transform = brick("maskmim.data.spectrograms.first_stretch")


def training(config: ConfigDict, epochs: float) -> None:
    """Set the length, `optim` and `schedule` of Audio-MAE on AudioSet-2M."""
    config.train.epochs = epochs
    config.train.batch_size = 512
    warm = recipes.warmup(epochs, 3.0)
    rates = {"lr": 2e-4, "lr_per": 256, "b2": 0.95, "weight_decay": 1e-4}
    recipes.adamw_cosine(config, warmup_epochs=warm, **rates)


def recordings(config: ConfigDict, path: str) -> None:
    """Set the sound files below a folder as the data."""
    files = brick("maskmim.data.sound_folder.recordings", path=path)
    config.data.train = config.evals.train = config.evals.test = files
    config.data.workers = 16


def tones(config: ConfigDict, *, seconds: float, counts: tuple[int, int]) -> None:
    """Set synthetic tones as the data; counts: to train on, and others to evaluate on."""
    made = "maskmim.data.tones.tones"
    train = brick(made, count=counts[0], seconds=seconds)
    config.data.train = config.evals.train = train
    config.evals.test = brick(made, count=counts[1], seconds=seconds, seed=1)


def tiny(config: ConfigDict) -> None:
    """Set tones of 0.6 s, and the training of a few steps."""
    tones(config, seconds=0.6, counts=(96, 48))
    recipes.tiny_run(config, epochs=1.0)
    recipes.tiny_schedule(config)


def clips_and_sounds(config: ConfigDict, *, frames: int, stride: int) -> None:
    """Set the decoders of the streams 'video', every `stride`-th frame, and 'audio'."""
    options = {"frames": frames, "stride": stride}
    clips = ((config.data, "random_clip"), (config.evals, "centre_clip"))
    for section, take in clips:
        decoders = {
            "video": brick(f"maskmim.data.clips.{take}", **options),
            "audio": brick("maskmim.data.sound.waveform"),
        }
        section.decode = brick("maskmim.data.decode_each.each", streams=decoders)


def sounding_objects(config: ConfigDict, *, small: bool) -> None:
    """Set the sizes and data of clips of a moving object whose height is heard.

    small: enough of them for minutes, of 64 x 64 pixels, instead of a few of 32 x 32.
    """
    side, counts = (64, (2048, 512)) if small else (32, (64, 32))
    config.input.size = (8, side, side)
    config.input.streams.audio.size = (64, side)
    made = {"frames": 8, "size": (side, side), "seconds": 0.66}
    sprites = "maskmim.data.av.sounding_sprites"
    config.data.train = config.evals.train = brick(sprites, split="train", count=counts[0], **made)
    config.evals.test = brick(sprites, split="test", count=counts[1], **made)
    clips_and_sounds(config, frames=8, stride=1)
    as_they_are = {
        "video": brick("maskmim.data.sprites.as_made"),
        "audio": brick("maskmim.data.spectrograms.first_stretch"),
    }
    for key, section in (("augment", config.data), ("transform", config.evals)):
        section[key] = brick("maskmim.data.augment_each.each", streams=as_they_are)
