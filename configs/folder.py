"""Pretraining on a folder of one's own images, with or without classes.

  python -m maskmim.train --config configs/folder.py:path=/data/photos --workdir runs/photos

After the colon: path=DIR (searched with all its subfolders); size=N pixels; variant; patch; epochs;
batch; mask=green | red | blue | purple | white | random; labelled: the first level of subfolders
names classes, and test=DIR with the same classes gives kNN and a linear probe at the end.

MAE's recipe (see configs/mae.py) with ColorMAE's masks; the learning rate scales with the batch.
Crops keep 20 to 100 % of a picture: for pictures whose content fills them evenly, such as textures
or scans, that is fine; for small objects raise --config.data.augment.scale=0.5,1.
"""

from ml_collections import ConfigDict

from maskmim.config.bricks import brick
from maskmim.config.defaults import base
from maskmim.config.parse import ConfigError
from maskmim.config.python_file import parse_argument


def get_config(arg: str = "") -> ConfigDict:
    """The config for what stands after the colon."""
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
        raise ConfigError("name the folder: --config configs/folder.py:path=/data/photos")
    config = base()
    config.input.size = (choice["size"], choice["size"])
    config.model = brick(
        "maskmim.models.masked_vit.vit_mae",
        variant=choice["variant"],
        patch=(choice["patch"], choice["patch"]),
    )
    module = "uniform" if choice["mask"] == "random" else "colour"
    config.mask = brick(f"maskmim.masks.{module}.{choice['mask']}", ratio=0.75)
    config.train.epochs = choice["epochs"]
    config.train.batch_size = choice["batch"]
    config.schedule = brick("maskmim.schedules.warmup_cosine", warmup_epochs=choice["epochs"] / 10)
    config.evals.train = None
    config.evals.test = None
    folders(config, choice["path"], choice["test"], choice["labelled"])
    return config


def folders(config: ConfigDict, path: str, test: str, labelled: bool) -> None:
    """Sets where images come from."""
    if not labelled:
        config.data.train = brick("maskmim.data.folder.unlabelled", path=path)
        return
    config.data.train = brick("maskmim.data.folder.labelled", path=path)
    if test:
        config.evals.train = config.data.train
        config.evals.test = brick("maskmim.data.folder.labelled", path=test)
