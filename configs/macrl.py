"""MACRL: Masked Contrastive Representation Learning (arXiv 2211.06012), CIFAR-10.

  python -m maskmim.train --config macrl:path=cifar-10-batches-bin --workdir runs/macrl
  python -m maskmim.train --config macrl:small --workdir runs/macrl_small

After the colon: path=DIR (the binary version of CIFAR-10, cifar-10-batches-bin where none is
given); variant=Ti/4 (and any of maskmim.models.vit.variant); epochs=N; small (minutes on a CPU, on
the embedded photographs); tiny (a few steps of a very small model on them).

Two crops of a picture pass one encoder and one decoder: one with strong colour changes of which
three quarters are hidden, one with none of which a quarter is. The decoder predicts the hidden
pixels of both by their absolute difference. The mean of a view's encoded visible patches is
projected, and finds the other view's projection among those of the batch and those of a memory
bank, the projections of earlier steps.

There is no official code, and of the paper the abstract and summaries alone could be read. They
say: a Siamese encoder and decoder; a higher mask ratio and stronger augmentation in one branch;
L1 on the decoders' outputs; a contrastive loss on the encoder's features in both branches, with a
projector and a memory bank; CIFAR-10, CIFAR-100, Tiny-ImageNet and two subsets of ImageNet. All
numbers are therefore ours: ratios 0.75 and 0.25, both terms with weight 1, the mean over the hidden
patches of both views (of which the strong one has three times as many), pixels as they enter the
network, a bank of 4,096 projections that gets no gradient, the other views of the batch as
negatives beside it, temperature 0.1, the mean of visible patches as feature, projector, network,
crops of 20 to 100 %, colours, sizes and rates.

Published results to expect: none known (numbers of the paper were not reachable).
"""

from ml_collections import ConfigDict

from maskmim.config import add, base, brick, parse_argument, recipes
from maskmim.config.bricks import public_path
from maskmim.data import cifar10, multi_crop
from maskmim.losses import absolute_error
from maskmim.masks import views as masks
from maskmim.methods import views
from maskmim.models.masked_vit import vit_mae
from maskmim.models.projectors import mlp
from maskmim.objectives import info_nce
from maskmim.targets import pixels

SYSTEMS = (88,)


def get_config(arg: str = "") -> ConfigDict:
    """Return the config for what stands after the colon."""
    choice = parse_argument(
        arg,
        path="cifar-10-batches-bin",
        variant="Ti/4",
        epochs=400.0,
        small=False,
        tiny=False,
    )
    config = base()
    config.method = public_path(views.masked_views)
    config.mask = brick(masks.asymmetric, ratios=(0.75, 0.25))
    config.objectives = {
        "pixels": recipes.match_objective("pixels", pixels.patches, absolute_error)
    }
    config.data.augment = brick(
        multi_crop.crop_pair,
        scale=(0.2, 1.0),
        jitter_chances=(0.8, 0.0),
        grey_chances=(0.2, 0.0),
        blur_chances=(0.5, 0.0),
        solarise_chances=(0.0, 0.0),
    )
    if choice["tiny"]:
        tiny(config)
    elif choice["small"]:
        small(config)
    else:
        published(config, choice["variant"], choice["epochs"])
        cifar(config, choice["path"])
    return config


def contrast(config: ConfigDict, *, hidden: int, values: int, bank: int) -> None:
    """Set the projector and the contrast with a memory bank."""
    config.calls = {"projector": brick(mlp, hidden=hidden, values=values)}
    pair = brick(info_nce, temperature=0.1, queue=bank)
    add(config, pairs={"contrast": pair}, predicts=(0, 1), reads=())


def published(config: ConfigDict, variant: str, epochs: float) -> None:
    """Set the recipe on CIFAR-10, which is ours."""
    config.input.size = (32, 32)
    config.model = brick(
        vit_mae,
        **recipes.vit_size(variant),
        decoder_depth=4,
        decoder_width=128,
        decoder_heads=4,
    )
    contrast(config, hidden=1024, values=128, bank=4096)
    recipes.mae_training(config, epochs, batch_size=512)


def cifar(config: ConfigDict, path: str) -> None:
    """Set the pictures of `data` and `evals`: CIFAR-10."""
    config.data.train = config.evals.train = brick(cifar10.binary, path=path, split="train")
    config.evals.test = brick(cifar10.binary, path=path, split="test")


def small(config: ConfigDict) -> None:
    """Set minutes of a small model on the embedded photographs."""
    recipes.small_model(config, brick(vit_mae, **recipes.SMALL_VIT))
    contrast(config, hidden=256, values=64, bank=512)


def tiny(config: ConfigDict) -> None:
    """Set a few steps of a very small model."""
    recipes.tiny_model(config, brick(vit_mae, **recipes.TINY_VIT))
    contrast(config, hidden=64, values=16, bank=24)
