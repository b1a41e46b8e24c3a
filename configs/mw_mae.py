"""MW-MAE: Masked Autoencoders with Multi-Window Local-Global Attention (ICLR 2024), spectrograms.

  python -m maskmim.train --config mw_mae:path=/data/audioset --workdir runs/mw_mae
  python -m maskmim.train --config mw_mae:tiny --workdir runs/mw_mae_tiny

After the colon: path=FOLDER (sound files below a folder, see maskmim.data.sound_folder; another
folder to evaluate on: --config.evals.test.path); variant=B (any of maskmim.models.vit.variant);
epochs=N; tiny (a few small steps on synthetic tones).

Two seconds of a recording at 16 kHz become 200 frames of 80 log-mel energies, standardised by the
mean and deviation of the whole recording (maskmim/data/mel_spectrogram.py), 50 x 5 patches of
4 x 16. A fifth of them enters a plain ViT; of the eight heads of the decoder's four blocks six look
within windows of 2, 5, 10, 25, 50 and 125 tokens in a row, with a learned bias for each offset, and
two at all. The windows must divide the number of tokens: another input.size needs other
model.windows. The loss is the squared error of hidden patches, not normalised.

The recipe is that of configs/pretraining/mwmae_base_200_4x16_precomputed.py: 100 epochs of 1,024
recordings a step, 1.5e-5 per 256, AdamW with (0.9, 0.999) and weight decay 0.05 on all parameters,
10 epochs of warm-up, cosine to 0, bfloat16. Positions of both parts are parameters there, which
start as sines and cosines, and are trained and decayed; so they are here.

Differences: GELU is exact, there approximated by tanh; a recording shorter than two seconds is
followed by frames of 0. The official features are the five frequency tokens of a time step side by
side, averaged over time; evals.pooling averages all tokens. An epoch is every recording once, of
which one stretch is taken. Without a source, hence ours: all sizes and rates of tiny.

Published results to expect (paper and README; not reproduced by us), ViT-B, frozen features on
HEAR's tasks: Beijing Opera 96.0, CREMA-D 73.1, ESC-50 81.2, LibriCount 68.8, Mridangam 97.4 and
97.9, NSynth 69.3, Speech Commands 90.9, FSD50K 51.2, VoxLingua 44.2.
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config import recipes_sound as sounds
from maskmim.data import mel_spectrogram
from maskmim.losses import squared_error
from maskmim.masks import uniform
from maskmim.models.layers.compute import compute
from maskmim.models.mw_mae import vit_mw_mae
from maskmim.targets.pixels import patches

SYSTEMS = (128,)


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, path="", variant="B", epochs=100.0, tiny=False)
    config = base()
    sounds.spectrograms(config, mean=0.0, std=1.0)
    config.mask = brick(uniform.random, ratio=0.8)
    config.objectives = {"pixels": recipes.match_objective("pixels", patches, squared_error)}
    config.data.augment = brick(mel_spectrogram.random_standardised_stretch)
    config.evals.transform = brick(mel_spectrogram.centre_standardised_stretch)
    if choice["tiny"]:
        tiny(config)
    else:
        published(config, choice["path"], choice["variant"], choice["epochs"])
    return config


def published(config: ConfigDict, path: str, variant: str, epochs: float) -> None:
    """Set the recipe on AudioSet."""
    config.input.size = (200, 80)
    config.model = brick(vit_mw_mae, variant=variant, compute=brick(compute, dtype="bfloat16"))
    sounds.recordings(config, path)
    config.train.epochs = epochs
    config.train.batch_size = 1024
    recipes.adamw_cosine(
        config,
        lr=1.5e-5,
        lr_per=256,
        b2=0.999,
        weight_decay=0.05,
        no_decay=(),
        warmup_epochs=recipes.warmup(epochs, 10.0),
    )


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model on synthetic tones of 0.6 s."""
    config.input.size = (40, 16)
    config.model = brick(
        vit_mw_mae,
        variant="nano",
        patch=(4, 8),
        decoder_depth=2,
        decoder_width=32,
        windows=(2, 4, 10, 0),
    )
    sounds.tiny(config)
