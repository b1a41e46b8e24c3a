"""Pretraining on a folder of your own images, with or without classes.

  python -m maskmim.train --config folder:path=/data/photos --workdir runs/photos

After the colon: path=DIR (searched with all its subfolders); size=N pixels; variant; patch; epochs;
batch; mask=green | red | blue | purple | white | random; labelled: the first level of subfolders
names classes, and test=DIR with the same classes gives kNN and a linear probe at the end.

MAE's recipe (see configs/mae.py) with ColorMAE's masks; the learning rate scales with the batch
size. Crops keep 20 to 100 % of a picture, which suits pictures that their content fills evenly,
such as textures or scans; for small objects raise --config.data.augment.scale=0.5,1.
"""

from ml_collections import ConfigDict

from maskmim.config import ConfigError, base, brick, parse_argument, recipes
from maskmim.data import folder
from maskmim.masks import colour, uniform
from maskmim.models.masked_vit import vit_mae
from maskmim.schedules import warmup_cosine

MASKS = {
    "green": colour.green,
    "red": colour.red,
    "blue": colour.blue,
    "purple": colour.purple,
    "white": colour.white,
    "random": uniform.random,
}


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        path="",
        test="",
        labelled=False,
        size=224,
        variant="S",
        patch=16,
        epochs=300.0,
        batch=256,
        mask="green",
    )
    if not choice["path"]:
        raise ConfigError("name the folder: --config folder:path=/data/photos")
    config = base()
    config.input.size = (choice["size"], choice["size"])
    config.model = brick(
        vit_mae, variant=choice["variant"], patch=(choice["patch"], choice["patch"])
    )
    config.mask = brick(recipes.pick_option("mask", choice["mask"], MASKS), ratio=0.75)
    config.train.epochs = choice["epochs"]
    config.train.batch_size = choice["batch"]
    config.schedule = brick(warmup_cosine, warmup_epochs=choice["epochs"] / 10)
    if choice["labelled"]:
        labelled(config, choice["path"], choice["test"])
    else:
        unlabelled(config, choice["path"])
    return config


def labelled(config: ConfigDict, path: str, test: str) -> None:
    """Set the images of `data` and `evals`, with classes."""
    config.data.train = brick(folder.labelled, path=path)
    config.evals.train = brick(folder.labelled, path=path) if test else None
    config.evals.test = brick(folder.labelled, path=test) if test else None


def unlabelled(config: ConfigDict, path: str) -> None:
    """Set the images of `data`, and no evaluation with classes."""
    config.data.train = brick(folder.unlabelled, path=path)
    config.evals.train = None
    config.evals.test = None
