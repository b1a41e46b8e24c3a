"""SatMAE: Pre-training Transformers for Satellite Imagery (arXiv 2207.08051), fMoW-Sentinel.

  python -m maskmim.train --config satmae:path=/data/sentinel --workdir runs/satmae
  python -m maskmim.train --config satmae:small --workdir runs/satmae_small

After the colon: path=DIR (TIFF with the 13 bands of Sentinel-2, searched with all subfolders);
test=DIR (of the same kind, with the same classes: the first level of subfolders of both names
classes); variant=B/8 | L/8 | H/8; epochs=N; heads=file (published) | groups, see below; same_places
(the same places are hidden in every group, the published control); small (minutes on a CPU, on the
embedded photographs); tiny (a few steps of a very small model on them).

The multi-spectral model. Of the 13 bands B1, B9 and B10 are dropped; the others make three groups
(B2 B3 B4 B8, B5 B6 B7 B8A, B11 B12), each cut into tokens of its own by a patch embedding of its
own. 75 % of the tokens of all groups are hidden, independently of each other. A token's position is
its place and, in the last 256 values (decoder 128), the number of its group. The decoder sees all
groups, and a linear layer for each predicts the pixels of its hidden tokens, not normalised.

The recipe is that of the official README and main_pretrain.py: ViT-L, 96 px, patches of 8, 200
epochs, 20 of warm-up, batch size 16 x 32 x 8, AdamW (0.9, 0.95), weight decay 0.05, 1e-4 per 256
pictures, cosine to 0, crops of 20 to 100 % and flips. Each band is scaled from its mean - 2
deviations to its mean + 2 deviations (util/datasets.py) to 256 levels, and these divided by 255.

heads=file: in forward_loss of the released code predictions stand group after group but targets in
the order of the file, so that the three heads predict B2 B3 B4 B5, B6 B7 B8 B8A and B11 B12, each
counted where the band's own group is hidden. The published numbers were made so, and it is the
default; heads=groups is the paper's description: a head predicts its own group.

Differences: an epoch is every picture exactly once; crops are resized by Pillow's antialiased
filter on 8-bit levels; the three groups have one crop each by the same numbers; bfloat16 in place
of float16. The temporal model (three pictures of a place with the codes of their times) is not
included: no pictures with times are at hand.

small and tiny are ours: photographs whose red and blue make one group, and green the other.

Published results to expect (official README, fMoW-Sentinel top-1 after fine-tuning; not yet
reproduced by us): ViT-B 62.65, ViT-L 63.84.
"""

from ml_collections import ConfigDict

from maskmim.config import base, brick, parse_argument, recipes
from maskmim.config.defaults import stream
from maskmim.data import band_groups as bands
from maskmim.data import folder, joint_crop
from maskmim.data.sentinel_bands import NAMES, RANGES
from maskmim.masks import modalities, uniform
from maskmim.models.layers.compute import compute
from maskmim.models.satmae import satmae
from maskmim.objectives.band_groups import band_groups, file_order

SYSTEMS = (86,)

# Bands of Sentinel-2 in the order of its files: B1 to B8, B8A, B9 to B12.
SENTINEL = {"image": (1, 2, 3, 7), "red_edge": (4, 5, 6, 8), "swir": (11, 12)}
COLOURS = {"image": (0, 2), "green": (1,)}  # of a photograph


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        path="fmow_sentinel/train",
        test="",
        variant="L/8",
        epochs=200.0,
        heads="file",
        same_places=False,
        small=False,
        tiny=False,
    )
    config = base()
    sampler = modalities.same_places if choice["same_places"] else uniform.random
    config.mask = brick(sampler, ratio=0.75)
    is_embedded = choice["tiny"] or choice["small"]
    groups = COLOURS if is_embedded else SENTINEL
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        satellite_data(config, choice["path"], choice["test"])
    streams(config, groups, (), ()) if is_embedded else streams(config, groups, NAMES, RANGES)
    predicted = recipes.pick_option(
        "heads", choice["heads"], {"file": file_order(groups), "groups": groups}
    )
    config.objectives = {"bands": brick(band_groups, groups=groups, predicted=predicted)}
    return config


def streams(
    config: ConfigDict,
    groups: dict[str, tuple[int, ...]],
    names: tuple[str, ...],
    ranges: tuple[tuple[float, float], ...],
) -> None:
    """Set the groups of bands as streams, cut out of each picture by one crop and one flip.

    names, ranges: of all bands of a file; () for photographs.
    """

    def levels(chosen: tuple[int, ...]) -> dict[str, object]:
        count = len(chosen)
        called = tuple(names[band] for band in chosen) if names else ()
        plain = {"mean": (0.0,) * count, "std": (1.0,) * count}
        return {"channels": count, "channel_names": called, **plain}

    config.input.update(levels(groups["image"]))
    others = {name: chosen for name, chosen in groups.items() if name != "image"}
    config.input.streams = {name: stream(**levels(chosen)) for name, chosen in others.items()}
    decode = brick(bands.band_groups, groups=groups, bands=len(names) or 3, ranges=ranges)
    config.data.decode = config.evals.decode = decode
    config.data.augment = brick(joint_crop.joint_crop)
    config.evals.transform = brick(joint_crop.joint_center_crop)


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the network and the recipe on fMoW-Sentinel."""
    config.input.size = (96, 96)
    size = recipes.vit_size(variant)
    config.model = brick(satmae, **size, compute=brick(compute, dtype="bfloat16"))
    config.train.epochs = epochs
    config.train.batch_size = 4096
    warm = recipes.warmup(epochs, 20.0)
    recipes.adamw_cosine(config, lr=1e-4, lr_per=256, b2=0.95, warmup_epochs=warm)


def satellite_data(config: ConfigDict, path: str, test: str) -> None:
    """Set the pictures of `data` and `evals`: those below a folder; with `test` with classes."""
    config.data.train = brick(folder.labelled if test else folder.unlabelled, path=path)
    config.data.workers = 16
    config.evals.train = brick(folder.labelled, path=path) if test else None
    config.evals.test = brick(folder.labelled, path=test) if test else None


def small(config: ConfigDict) -> None:
    """Set minutes on the embedded photographs."""
    config.input.size = (64, 64)
    config.model = brick(satmae, **recipes.SMALL_VIT, code_width=32, decoder_code_width=16)
    recipes.small_training(config)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    codes = {"code_width": 8, "decoder_code_width": 8}
    recipes.tiny_model(config, brick(satmae, **recipes.TINY_VIT, **codes))
