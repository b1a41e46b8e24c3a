"""AV-MAE: Audiovisual Masked Autoencoders (arXiv 2212.05922), AudioSet and VGGSound.

  python -m maskmim.train --config av_mae:path=/data/audioset --workdir runs/av_mae
  python -m maskmim.train --config av_mae:small --workdir runs/av_mae_small

After the colon: path=FOLDER with the folders video and audio, in which files of the same name, but
for the ending, belong together; fusion=early | mid | shared | separate, see below (by default that
of the recipe); decoder=shared | separate | joint; recipe=audioset | vggsound; variant=B | L;
epochs=N (0: the published number); small (minutes on a CPU) and tiny (seconds), both on synthetic
clips whose sound is the height of an object.

A clip of 16 frames, every 4th of the video, becomes 1568 cubes of 2 x 16 x 16 pixels, 10 s of sound
(8 s on VGGSound) 496 (400) patches of 16 x 16 of a log-mel spectrogram. 90 % of the cubes and 70 %
(50 %) of the patches are hidden, independently. The rest enters a ViT-L: early fusion sees both
streams in all 24 blocks, mid fusion has 22 blocks for each stream and 2 for both, shared one
encoder that sees a stream at a time, separate two. One decoder of 4 blocks, which sees a stream at
a time (shared), one for each (separate) or one over both (joint) predicts pixels and energies, not
normalised by patch; the loss is half the squared error of each stream. AudioSet was trained with
mid fusion, VGGSound with separate encoders, both with the shared decoder. fusion=separate with
decoder=separate shares nothing, and the official config refuses it; here it is the control.

Recipe of configs/audioset/pretrain.py and configs/vggsound/pretrain.py: Adam (0.9, 0.95), decoupled
weight decay 0.05 on kernels alone, batch size 512, 3e-4 (1.5e-4) per 256 clips, 4 epochs of
warm-up, cosine to 0, 120 (400) epochs, crops of 224 of 256 pixels and flips, GELU by tanh. small
and tiny are ours. Changed ratios must be given to both sections, as --config.mask.ratios.audio=0.5
--config.model.ratios.audio=0.5.

Differences: spectrograms are Kaldi's, normalised by AudioSet's mean and deviation (officially
stored, by a front end that is not in the code); frames beyond the last whole patch are cut off;
crops stand at 13 fixed places; where a recording is longer than the spectrogram, clip and sound are
cut at places of their own. bfloat16 in place of float32. An epoch is every clip once. The paper's
second objective, in which a decoder gets the other stream's tokens only, is not included.

Published results to expect (official README, ViT-L after fine-tuning on both streams, on sound and
on video; not yet reproduced by us): AudioSet 51.8, 46.6 and 31.1 mAP; VGGSound 65.0, 57.2 and
50.3 % top-1.
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes, recipes_sound
from maskmim.config.defaults import stream
from maskmim.data import augment_each
from maskmim.data.clip_transforms import centre_crop, multi_scale_crop
from maskmim.data.spectrograms import first_stretch, random_stretch
from maskmim.data.stream_folders import unlabelled
from maskmim.losses import squared_error
from maskmim.masks import modalities
from maskmim.modalities import clip, spectrogram
from maskmim.models import vit
from maskmim.models.av_mae import av_mae
from maskmim.models.layers.compute import compute
from maskmim.objectives import in_stream, match
from maskmim.targets.pixels import patches

SYSTEMS = (87,)


class Recipe(NamedTuple):
    """What differs between the official configs; frames are those of the spectrogram, of 10 ms."""

    fusion: str
    frames: int
    sound_ratio: float
    epochs: float
    lr: float


RECIPES = {
    "audioset": Recipe("mid", 992, 0.7, 120.0, 3e-4),
    "vggsound": Recipe("separate", 800, 0.5, 400.0, 1.5e-4),
}
DECODERS = {"B": "4x384x6", "L": "4x512x8"}
# Joint blocks (None: all), and whether the others have the same weights for both streams.
Fusion = tuple[int | None, bool]
FUSIONS: dict[str, Fusion] = {
    "early": (None, False),
    "mid": (2, False),
    "shared": (0, True),
    "separate": (0, False),
}
RATIO = 0.9  # of the clip


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        path="audioset",
        fusion="",
        decoder="shared",
        recipe="audioset",
        variant="L",
        epochs=0.0,
        small=False,
        tiny=False,
    )
    recipe = recipes.pick_option("recipe", choice["recipe"], RECIPES)
    fusion = recipes.pick_option("fusion", choice["fusion"] or recipe.fusion, FUSIONS)
    config = base()
    streams(config, recipe)
    if choice["tiny"] or choice["small"]:
        recipes_sound.sounding_objects(config, small=choice["small"])
        (tiny if choice["tiny"] else small)(config, recipe, fusion)
    else:
        size = recipes.vit_of_patch_16(choice["variant"])
        published(config, recipe, fusion, size, choice["epochs"] or recipe.epochs)
        files(config, choice["path"])
    config.model.decoder_blocks = choice["decoder"]
    return config


def streams(config: ConfigDict, recipe: Recipe) -> None:
    """Set a clip and its spectrogram as streams, their masks and their objectives."""
    plain = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    config.input.update(stream="video", size=(16, 224, 224), kind=brick(clip), **plain)
    (mean, std), kind = recipes_sound.AUDIOSET, brick(spectrogram)
    energies = {"channels": 1, "mean": (mean,), "std": (std,), "dtype": "float32"}
    config.input.streams = {"audio": stream(size=(recipe.frames, 128), kind=kind, **energies)}
    ratios = {"audio": recipe.sound_ratio}
    config.mask = brick(modalities.independent, ratio=RATIO, ratios=ratios)
    config.objectives = {name: objective(name) for name in ("video", "audio")}


def objective(name: str) -> ConfigDict:
    """Return half the squared error of a stream's hidden tokens."""
    pixels = {"target": brick(patches), "loss": brick(squared_error), "scale": 0.5}
    return brick(in_stream, stream=name, of=brick(match, head=name, **pixels))


def network(
    fusion: Fusion, recipe: Recipe, variant: str, decoder: str, **others: object
) -> ConfigDict:
    """Return the section of the network; fusion: of FUSIONS. others: as of `av_mae`."""
    joint, shared = fusion
    depth = vit.variant(variant).depth
    return brick(
        av_mae,
        variant=variant,
        joint=depth if joint is None else min(joint, depth - 1),
        shared=shared,
        ratio=RATIO,
        ratios={"audio": recipe.sound_ratio},
        decoder=decoder,
        **others,
    )


def published(
    config: ConfigDict, recipe: Recipe, fusion: Fusion, variant: str, epochs: float
) -> None:
    """Set the network and the recipe of an official config."""
    decoder = recipes.pick_option("variant", variant, DECODERS)
    cubes = {"video": (2, 16, 16), "audio": (16, 16)}
    how = brick(compute, dtype="bfloat16")
    config.model = network(fusion, recipe, variant, decoder, patches=cubes, compute=how)
    config.train.epochs = epochs
    config.train.batch_size = 512
    recipes.adamw_cosine(
        config,
        lr=recipe.lr,
        lr_per=256,
        b2=0.95,
        no_decay=(r"(bias|scale|mask_token)$",),
        warmup_epochs=recipes.warmup(epochs, 4.0),
    )


def files(config: ConfigDict, path: str) -> None:
    """Set the data: videos and their sounds in parallel folders."""
    folders, kinds = {"video": "video", "audio": "audio"}, {"video": "video", "audio": "sound"}
    config.data.train = brick(unlabelled, path=path, streams=folders, kinds=kinds)
    config.data.workers = 16
    config.evals.train = config.evals.test = None
    recipes_sound.clips_and_sounds(config, frames=16, stride=4)
    crop = brick(multi_scale_crop, scales=(0.875,), flip=0.5)
    sound = brick(random_stretch, loudness=0.0)
    whole = {"video": brick(centre_crop, crop_fraction=1.0), "audio": brick(first_stretch)}
    config.data.augment = brick(augment_each.each, streams={"video": crop, "audio": sound})
    config.evals.transform = brick(augment_each.each, streams=whole)


def small(config: ConfigDict, recipe: Recipe, fusion: Fusion) -> None:
    """Set a small network that trains for minutes on two CPU cores."""
    cubes = {"video": (2, 8, 8), "audio": (8, 8)}
    config.model = network(fusion, recipe, "micro", "2x64x2", patches=cubes)
    recipes.small_training(config)


def tiny(config: ConfigDict, recipe: Recipe, fusion: Fusion) -> None:
    """Set a few steps of a very small model."""
    cubes = {"video": (2, 8, 8), "audio": (8, 8)}
    config.model = network(fusion, recipe, "nano", "1x32x2", patches=cubes)
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)
