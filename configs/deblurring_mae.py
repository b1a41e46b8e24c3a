"""Deblurring Masked Autoencoder is Better Recipe for Ultrasound Image Recognition (MICCAI 2023).

  python -m maskmim.train --config deblurring_mae:path=/data/ultrasound --workdir runs/deblurring
  python -m maskmim.train --config deblurring_mae:small --workdir runs/deblurring_small

arXiv 2306.08249. After the colon: path=DIR (pictures, searched with all subfolders); test=DIR (of
the same kind, with the same classes: the first level of subfolders of both names classes, and kNN
and a linear probe run at the end); variant=B/16 | L/16 | H/14 (and any of
maskmim.models.vit.variant); epochs=N; sigma=PIXELS of the blur, 1.1 unless given (3 in small and
tiny, whose pictures are reduced more); small (minutes on a CPU, on the embedded photographs); tiny
(a few steps of a very small model on them).

A picture is blurred as a whole (Gaussian, sigma 1.1 pixels), then cropped and resized. MAE's
encoder sees a quarter of the blurred patches; its decoder predicts the sharp pixels, not normalised
per patch, of all patches: of visible ones it learns to deblur, of hidden ones to fill in. The loss
is the mean squared error over all patches. Evaluation blurs pictures, too, as the official
fine-tuning does: data.augment.sigma and evals.transform.sigma are to be equal.

The recipe is that of the official main_pretrain.py: AdamW (0.9, 0.95), weight decay 0.05, 1.5e-4
per 256 images, 40 epochs of warm-up, 12,000 epochs (of 10,675 pictures), cosine to 0, crops of 20
to 100 % and flips; batch size 256 as in its README and scripts/pretrain/de_mae.sh. Grey pictures
become RGB and are normalised by ImageNet's statistics. The paper's ultrasound pictures are not
public; `small` and `tiny`, with photographs, are ours.

Differences: both crops are one box, where the official loader seeds torch twice with the time;
an epoch is every picture exactly once; bfloat16 instead of float16. See also
maskmim/data/blurred_crop.py. Deblurring ConvMAE is not included.

Published results to expect: none known for this ViT. With the extended ConvMAE variant and 280,000
pictures, U-Net++ has an IoU of 74.96 on TN3K, without deblurring 74.40 (official README).
"""

from ml_collections import ConfigDict

from maskmim.config import add, base, brick, parse_argument, recipes
from maskmim.data import blurred_crop, folder
from maskmim.evals.deblurring import deblurring
from maskmim.losses import squared_error
from maskmim.masks import roles, uniform
from maskmim.models.layers.compute import compute
from maskmim.models.masked_vit import vit_mae
from maskmim.objectives import match
from maskmim.targets import pixels

SYSTEMS = (95,)


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        path="",
        test="",
        variant="B/16",
        epochs=12000.0,
        sigma=0.0,
        small=False,
        tiny=False,
    )
    config = base()
    config.mask = brick(roles.all_predicted, sampler=brick(uniform.random, ratio=0.75))
    sharp = brick(pixels.patches_of, array="sharp")
    loss = brick(squared_error)
    config.objectives = {"pixels": brick(match, head="pixels", target=sharp, loss=loss)}
    sigma = choice["sigma"] or (3.0 if choice["small"] or choice["tiny"] else 1.1)
    config.data.augment = brick(blurred_crop.blurred_crop, sigma=sigma)
    config.evals.transform = brick(blurred_crop.blurred_center_crop, sigma=sigma)
    add(config.evals.measures, deblurring=brick(deblurring))
    config.evals.at_end = ("knn", "linear_probe", "deblurring")
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        ultrasound_data(config, choice["path"], choice["test"])
    return config


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on ultrasound pictures."""
    config.model = brick(
        vit_mae,
        **recipes.vit_size(variant),
        decoder_depth=8,
        decoder_width=512,
        decoder_heads=16,
        compute=brick(compute, dtype="bfloat16"),
    )
    recipes.mae_training(config, epochs, batch_size=256)


def ultrasound_data(config: ConfigDict, path: str, test: str) -> None:
    """Set the pictures of `data` and `evals`: those below a folder; with `test`, with classes."""
    config.data.train = brick(folder.labelled if test else folder.unlabelled, path=path)
    config.data.workers = 16
    config.evals.train = brick(folder.labelled, path=path) if test else None
    config.evals.test = brick(folder.labelled, path=test) if test else None


def small(config: ConfigDict) -> None:
    """Set minutes of a small model on the embedded photographs; sizes and rates are ours."""
    config.input.size = (48, 48)
    config.model = brick(
        vit_mae,
        variant="micro",
        patch=(4, 4),
        decoder_depth=1,
        decoder_width=128,
        decoder_heads=4,
    )
    recipes.small_training(config, epochs=20.0)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_images(config)
    config.model = brick(
        vit_mae,
        variant="nano",
        patch=(8, 8),
        decoder_depth=1,
        decoder_width=32,
        decoder_heads=2,
    )
    recipes.tiny_run(config, at_end=("deblurring",))
    recipes.tiny_schedule(config)
