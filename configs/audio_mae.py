"""Audio-MAE: Masked Autoencoders that Listen (arXiv 2207.06405), log-mel spectrograms.

  python -m maskmim.train --config configs/audio_mae.py:path=/data/audioset --workdir runs/audio
  python -m maskmim.train --config configs/audio_mae.py:tiny --workdir runs/audio_tiny

After the colon: path=FOLDER (sound files below a folder, see maskmim.data.sound_folder; another
folder to evaluate on: --config.evals.test.path), variant=B (any of maskmim.models.vit.variant),
epochs=N, mask=random | time | frequency | time_frequency | chunks (the structured ones are of
maskmim.masks.audio; 0.8 of tokens random is the published choice), tiny (a few small steps on
synthetic tones).

A recording becomes 1024 frames of 128 log-mel energies (10 s at 16 kHz, see
maskmim/data/log_mel.py), 64 x 8 patches of 16 x 16. A fifth of them enters a ViT; a decoder of 16
blocks whose attention stays in windows of 4 x 4 patches predicts the others, normalised per patch.
The normalisation of the input is (x - mean) / (2 std) with AudioSet's statistics: input.mean is the
mean, input.std twice the deviation. Where a recording ends, frames of 0 follow, before that.
The recipe is that of submit_pretrain_audioset2M.sh: AdamW (0.9, 0.95), weight decay 1e-4, batch
512, rate 2e-4 per 256, 33 epochs, 3 of warm-up, cosine to 0, recordings at random loudness.

Followed is what the code does, where that is not what the paper says or the code means: 33 epochs
(paper: 32), windows shifted in time alone (paper: both axes), positions of the grid with its axes
exchanged (paper: of the grid), recordings that are not rolled (meant: rolled at random).
--config.model.positions=sincos gives each patch its true place.

Differences: recordings longer than the frames are cut at random, there at the beginning. No dropout
in the decoder's position biases. An epoch is every recording once.
The probes of evals need label sets with one class for each recording (AudioSet has several), with
equal classes in training and test.

Published results to expect after fine-tuning (paper; not yet reproduced by us): ViT-B, AudioSet-2M
47.3 mAP, AudioSet-20K 37.1 mAP (37.0 in the official README), ESC-50 94.1 %, Speech Commands V2
98.3 %, V1 96.9 %, VoxCeleb 94.8 %.
"""

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base, norm_pix_objective
from maskmim.config.python_file import parse_argument

SYSTEMS = (12,)

MEAN, STD = -4.2677393, 4.5689974  # Of AudioSet's log-mel energies.
MODEL = "maskmim.models.audio_mae.vit_audio_mae"
MASKS = {"random": "maskmim.masks.uniform.random"}


def get_config(arg: str = "") -> ConfigDict:
    """The config for what stands after the colon."""
    choice = parse_argument(arg, path="", variant="B", epochs=33.0, mask="random", tiny=False)
    config = base()
    config.input = {
        "size": (1024, 128),
        "channels": 1,
        "mean": (MEAN,),
        "std": (2 * STD,),
        "stream": "audio",
        "dtype": "float32",
    }
    config.data.decode = config.evals.decode = brick("maskmim.data.sound.waveform")
    config.data.augment = brick("maskmim.data.spectrograms.random_stretch", loudness=10.0)
    config.evals.transform = brick("maskmim.data.spectrograms.first_stretch")
    if choice["tiny"]:
        tiny(config)
    else:
        published(config, choice["path"], choice["variant"], choice["epochs"])
    sampler = MASKS.get(choice["mask"], f"maskmim.masks.audio.{choice['mask']}")
    config.mask = brick(sampler, ratio=0.8)
    config.objectives = {"pixels": norm_pix_objective()}
    return config


def published(config: ConfigDict, path: str, variant: str, epochs: float) -> None:
    """The recipe on AudioSet-2M."""
    config.model = brick(
        "maskmim.models.audio_mae.vit_audio_mae", variant=variant, dtype="bfloat16"
    )
    config.data.train = brick("maskmim.data.sound_folder.recordings", path=path)
    config.evals.train = config.evals.test = config.data.train
    config.data.workers = 16
    config.train.epochs = epochs
    config.train.batch_size = 512
    config.optim = brick("maskmim.optim.adamw", lr=2e-4, b1=0.9, b2=0.95, weight_decay=1e-4)
    config.schedule = brick("maskmim.schedules.warmup_cosine", warmup_epochs=3.0)


def tiny(config: ConfigDict) -> None:
    """A few steps of a very small model on synthetic tones of 0.6 s."""
    config.input.size = (64, 32)
    config.model = brick(
        MODEL,
        variant="nano",
        patch=(8, 8),
        decoder_depth=2,
        decoder_width=32,
        decoder_heads=2,
    )
    config.data.train = brick("maskmim.data.tones.tones", count=96, seconds=0.6)
    config.evals.train = config.data.train
    config.evals.test = brick("maskmim.data.tones.tones", count=48, seconds=0.6, seed=1)
    config.train.epochs = 1.0
    config.train.batch_size = 16
    config.schedule = brick("maskmim.schedules.warmup_cosine", warmup_epochs=0.1)
    config.evals.at_end = ("reconstruction",)
    config.log.every_steps = 1
