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
