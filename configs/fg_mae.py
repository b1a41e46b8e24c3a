"""FG-MAE: Feature Guided Masked Autoencoder for Remote Sensing (arXiv 2310.18653), SSL4EO-S12.

  python -m maskmim.train --config fg_mae:sar,path=/data/s1 --workdir runs/fg_mae_sar
  python -m maskmim.train --config fg_mae:s2,path=/data/s2c --workdir runs/fg_mae_s2
  python -m maskmim.train --config fg_mae:small --workdir runs/fg_mae_small

After the colon: sar (2 channels of Sentinel-1, unless s2 is given) | s2 (13 bands of Sentinel-2);
path=DIR (pictures of 8 bits, TIFF with all bands, searched with all subfolders); test=DIR (of the
same kind, with the same classes: the first level of subfolders of both names classes); target=
features (published) | pixels (normalised per patch: MAE, the paper's control); variant=S/16 | B/16
| L/16 | H/14; epochs=N, 100 unless given (published for H: 400); looks=N of the speckle of small
and tiny; small (minutes on a CPU, on the embedded photographs); tiny (a few steps of a very small
model on them).

MAE with other targets. Of SAR the decoder predicts HOG of each channel of the hidden patches (9
bins, cells of 8 pixels, 7 for H/14, gradients weighted by Gaussian windows of 16 pixels); of
Sentinel-2 HOG of each band by one head, and three normalised differences of bands (NDVI, NDWI,
NDBI) at each pixel by another. All targets are standardised within each patch (--norm_pix_loss);
the loss is the sum of their mean squared errors. The recipe is that of the official scripts
(srun_train_fgmae_*): 70 % of the patches hidden, batch size 256, AdamW (0.9, 0.95), weight decay
0.05, 1.5e-4 per 256 images, a tenth of the epochs as warm-up, cosine to 0, crops of 20 to 100 % and
flips. Inputs are levels of 8 bits divided by 255, officially each band scaled from its mean - 2
deviations to mean + 2 deviations (numbers in ssl4eo_dataset_lmdb.py); normalised differences are of
these levels, not of reflectances.

Differences: 137 of 196 patches are hidden, officially 138 (and 179 instead of 180 of 256); an epoch
is every picture exactly once, officially each of 250,000 draws takes one of
the four seasons of a place, and places are drawn with replacement once, so that 37 % are never
seen. Crops are resized bicubically instead of bilinearly; bfloat16 instead of float16. See also
maskmim/targets/hog.py and differences.py.

`small` and `tiny` are ours: there are no embedded pictures of satellites. sar has grey photographs
under speckle; s2 has colour photographs, with the differences of their three pairs of colours.

Published results to expect (not yet reproduced by us): up to 5 points above MAE on EuroSAT-SAR
(abstract of the article in IEEE JSTARS).
"""

from typing import Any

from ml_collections import ConfigDict

from maskmim.config import ConfigError, base, brick, parse_argument, recipes
from maskmim.config.defaults import norm_pix_objective
from maskmim.data import folder, speckle
from maskmim.losses import squared_error
from maskmim.masks import uniform
from maskmim.models.layers.compute import compute
from maskmim.models.masked_vit import vit_mae
from maskmim.objectives import match
from maskmim.targets import differences, hog, standardised

SYSTEMS = (142,)

BANDS = {"sar": 2, "s2": 13}
COLOURS = ((0, 1), (1, 2), (2, 0))  # pairs of a photograph's channels
BINS, WINDOW = 9, 16


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        sar=False,
        s2=False,
        path="",
        test="",
        target="features",
        variant="S/16",
        epochs=100.0,
        looks=1.0,
        small=False,
        tiny=False,
    )
    if choice["sar"] and choice["s2"]:
        raise ConfigError("sar,s2: give one of them")
    optical = choice["s2"]
    config = base()
    config.mask = brick(uniform.random, ratio=0.7)
    if choice["tiny"] or choice["small"]:
        network = tiny(config) if choice["tiny"] else small(config)
        photographs(config, optical, choice["looks"])
    else:
        network = published(config, choice["variant"], choice["epochs"])
        satellite_data(config, BANDS["s2" if optical else "sar"], choice["path"], choice["test"])
    config.evals.at_end = () if choice["tiny"] else ("knn", "linear_probe")
    features = {"features": True, "pixels": False}
    if recipes.pick_option("target", choice["target"], features):
        network["heads"] = set_features(config, optical, network["patch"][0])
    else:
        config.objectives = {"pixels": norm_pix_objective()}
    config.model = brick(vit_mae, **network)
    return config


def set_features(config: ConfigDict, optical: bool, side: int) -> dict[str, int]:
    """Set the objectives: HOG, and for optical pictures differences of bands; return the heads.

    side: of a patch in pixels.
    """
    channels = config.input.channels
    targets = {"hog": brick(hog.hog_patches, bins=BINS, cell=side // 2, window=WINDOW)}
    heads = {"hog": channels * BINS * 4}
    if optical:
        pairs = {"pairs": COLOURS} if channels == 3 else {}
        targets["ndi"] = brick(differences.normalised_differences, **pairs)
        heads["ndi"] = 3 * side**2
    config.objectives = {
        name: brick(
            match,
            head=name,
            target=brick(standardised.standardised, target=target),
            loss=brick(squared_error),
        )
        for name, target in targets.items()
    }
    return heads


def published(config: ConfigDict, variant: str, epochs: float) -> dict[str, Any]:
    """Set the recipe on SSL4EO-S12; return the sizes of the network."""
    config.train.epochs = epochs
    config.train.batch_size = 256
    recipes.adamw_cosine(config, lr=1.5e-4, lr_per=256, b2=0.95, warmup_epochs=epochs / 10)
    bfloat16 = brick(compute, dtype="bfloat16")
    decoder = {"decoder_depth": 8, "decoder_width": 512, "decoder_heads": 16}
    return {**recipes.vit_size(variant), **decoder, "compute": bfloat16}


def satellite_data(config: ConfigDict, bands: int, path: str, test: str) -> None:
    """Set the pictures of `data` and `evals`: those below a folder; with `test` with classes."""
    plain_levels(config, bands)
    config.data.train = brick(folder.labelled if test else folder.unlabelled, path=path)
    config.data.workers = 16
    config.evals.train = brick(folder.labelled, path=path) if test else None
    config.evals.test = brick(folder.labelled, path=test) if test else None


def plain_levels(config: ConfigDict, channels: int) -> None:
    """Set `input` to levels of 8 bits divided by 255, which are not normalised further."""
    config.input.channels = channels
    config.input.mean = (0.0,) * channels
    config.input.std = (1.0,) * channels


def photographs(config: ConfigDict, optical: bool, looks: float) -> None:
    """Set the stand-in for satellites: colour photographs, or grey ones under speckle."""
    plain_levels(config, 3 if optical else 1)
    if not optical:
        config.data.augment = brick(speckle.speckled_crop, looks=looks)
        config.evals.transform = brick(speckle.speckled_center_crop, looks=looks)


def small(config: ConfigDict) -> dict[str, Any]:
    """Set minutes on the embedded photographs; sizes and rates, also those returned, are ours."""
    config.input.size = (96, 96)
    recipes.small_training(config, epochs=20.0)
    decoder = {"decoder_depth": 1, "decoder_width": 64, "decoder_heads": 2}
    return {"variant": "micro", "patch": (16, 16), **decoder}


def tiny(config: ConfigDict) -> dict[str, Any]:
    """Set a few steps; return the sizes of a very small network."""
    recipes.tiny_images(config)
    recipes.tiny_run(config)
    recipes.tiny_schedule(config)
    decoder = {"decoder_depth": 1, "decoder_width": 32, "decoder_heads": 2}
    return {"variant": "nano", "patch": (8, 8), **decoder}
