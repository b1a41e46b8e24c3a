"""Audio-MAE: Masked Autoencoders that Listen (arXiv 2207.06405), log-mel spectrograms.

  python -m maskmim.train --config audio_mae:path=/data/audioset --workdir runs/audio
  python -m maskmim.train --config audio_mae:tiny --workdir runs/audio_tiny

After the colon: path=FOLDER (sound files below a folder, see maskmim.data.sound_folder; another
folder to evaluate on: --config.evals.test.path); variant=B (any of maskmim.models.vit.variant);
epochs=N; mask=random | time | frequency | time_frequency | chunks (the structured ones are in
maskmim.masks.audio; 0.8 of tokens random is the published choice); tiny (a few small steps on
synthetic tones).

A recording becomes 1024 frames of 128 log-mel energies (10 s at 16 kHz, see
maskmim/data/log_mel.py), 64 x 8 patches of 16 x 16. The sample rate is one key,
--config.data.decode.rate. A fifth of the patches enters a ViT; a decoder of 16 blocks whose
attention stays in windows of 4 x 4 patches predicts the others, normalised per patch.
The normalisation of the input is (x - mean) / (2 std) with AudioSet's statistics: input.mean is the
mean, input.std twice the deviation. Recordings that are too short are padded with frames of 0
before the normalisation. The recipe is that of submit_pretrain_audioset2M.sh: AdamW (0.9, 0.95),
weight decay 1e-4, batch size 512, learning rate 2e-4 per 256, 33 epochs, 3 of warm-up, cosine to 0,
recordings at random loudness.

Where the code differs from the paper or from its own intention, this config does what the code
does: 33 epochs (paper: 32), windows shifted in time alone (paper: both axes), positions of the grid
with its axes exchanged (paper: of the grid), recordings that are not rolled (intended: rolled at
random). --config.model.positions=sincos gives each patch its true place.

Differences: recordings longer than the frames are cut at random, officially at the beginning. The
position biases of the decoder have no dropout. An epoch is every recording once.
The probes of evals need label sets with one class for each recording (AudioSet has several), with
equal classes in training and test.

Published results to expect after fine-tuning (paper; not yet reproduced by us): ViT-B, AudioSet-2M
47.3 mAP, AudioSet-20K 37.1 mAP (37.0 in the official README), ESC-50 94.1 %, Speech Commands V2
98.3 %, V1 96.9 %, VoxCeleb 94.8 %.
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config import recipes_sound as sounds
from maskmim.masks import audio, uniform
from maskmim.models.audio_mae import vit_audio_mae
from maskmim.models.layers.compute import compute

SYSTEMS = (12,)

MASKS = {
    "random": uniform.random,
    "time": audio.time,
    "frequency": audio.frequency,
    "time_frequency": audio.time_frequency,
    "chunks": audio.chunks,
}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(arg, path="", variant="B", epochs=33.0, mask="random", tiny=False)
    config = base()
    sounds.audio_mae_input(config)
    config.mask = brick(recipes.pick_option("mask", choice["mask"], MASKS), ratio=0.8)
    if choice["tiny"]:
        tiny(config)
    else:
        published(
            config, choice["path"], recipes.vit_of_patch_16(choice["variant"]), choice["epochs"]
        )
    return config


def published(config: ConfigDict, path: str, variant: str, epochs: float) -> None:
    """Set the recipe on AudioSet-2M."""
    config.input.size = (1024, 128)
    config.model = brick(vit_audio_mae, variant=variant, compute=brick(compute, dtype="bfloat16"))
    sounds.recordings(config, path)
    sounds.training(config, epochs)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model on synthetic tones of 0.6 s."""
    config.input.size = (64, 32)
    config.model = brick(
        vit_audio_mae,
        variant="nano",
        patch=(8, 8),
        decoder_depth=2,
        decoder_width=32,
        decoder_heads=2,
    )
    sounds.tiny(config)
