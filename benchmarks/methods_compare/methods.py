"""The methods that are compared: their configs, and what is changed in them.

The base is a method's `:small` recipe with the network "micro" (6 blocks of width 128) on 64 tokens
of 8 x 8 pixels. Methods that have no such recipe get it here, from their `:tiny` one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ml_collections import ConfigDict

from maskmim.config import base, recipes

PIXELS = ("input.size=64,64", "model.patch=8,8")
# Keys of `recipes.SMALL_VIT` that all networks of `:tiny` recipes have.
ENCODER = ("model.variant=micro", *PIXELS)
DECODER = ("model.decoder_depth=1", "model.decoder_width=64", "model.decoder_heads=2")


class Method(NamedTuple):
    """A method: what stands after --config, the overrides, and further changes of its config.

    about: the network, where it is not "micro" with 64 tokens.
    """

    config: str
    overrides: tuple[str, ...] = ()
    change: Callable[[ConfigDict], None] | None = None
    about: str = ""


def trained_as_small(config: ConfigDict) -> None:
    """Give a `:tiny` recipe the data and the training of `:small` ones."""
    config.data.train = base().data.train
    recipes.small_training(config)
    config.evals.at_end = base().evals.at_end


def with_small_data(config: ConfigDict) -> None:
    """Give a `:tiny` recipe whose optimiser is its own the data of `:small` ones."""
    config.data.train = base().data.train
    config.train.batch_size = 64
    config.evals.at_end = base().evals.at_end


METHODS: Mapping[str, Method] = {
    "mae": Method("mae:small"),
    "colormae": Method("colormae:small"),
    "self_guided": Method("self_guided:small"),
    "dbot": Method("dbot:small"),
    "dmae": Method("dmae:small"),
    "maskalign": Method("maskalign:small"),
    "uta": Method("uta:small", about="as MAE's, with rotary positions and SwiGLU"),
    "hybrid_distill": Method("hybrid_distill:small"),
    "dtm": Method("dtm:small"),
    "mr_mae": Method(
        "mr_mae:small", about="one convolution block of width 24 and of 48 before 4 of width 128"
    ),
    "convmae": Method(
        "convmae:small",
        ("input.size=64,64", "model.patch=2,2", "model.variant=24-48-128x1-1-6x4"),
        about="one convolution block of width 24 and of 48 before 6 of width 128",
    ),
    "dmjd": Method(
        "dmjd:small", about="one convolution block of width 24 and of 48 before 6 of width 128"
    ),
    "mixed_ae": Method("mixed_ae:small"),
    "bamboo": Method("bamboo:small", about="24 blocks of width 64"),
    "crate_mae": Method("crate_mae:small", ("model.variant=6x128x4", *PIXELS)),
    "r_mae": Method("r_mae:small"),
    "a2mim": Method("a2mim:small"),
    "a2mim_resnet": Method(
        "a2mim:model=resnet,small", about="ResNet of 3 stages, 36 tokens of 16 pixels"
    ),
    "local_mim": Method("local_mim:small"),
    "deblurring_mae": Method("deblurring_mae:small", PIXELS),
    "ropim": Method("ropim:small"),
    "latent_mim": Method("latent_mim:small"),
    "mto": Method("mto:small"),
    "fg_mae": Method("fg_mae:s2,small", about="36 tokens of 16 pixels"),
    "fg_mae_sar": Method("fg_mae:small", about="36 tokens of 16 pixels; grey, under speckle"),
    "cropmae": Method("cropmae:small"),
    "data2vec2": Method("data2vec2:small", about="a decoder of 3 convolutions of width 128"),
    "dino": Method("dino:small"),
    "ibot": Method("ibot:small"),
    "ijepa": Method("ijepa:small", about="a predictor of 3 blocks of width 64"),
    "lut": Method("lut:small"),
    "msn": Method("msn:small"),
    "vic_mae": Method("vic_mae:small"),
    "macrl": Method("macrl:small"),
    "crossmae": Method("crossmae:tiny", (*ENCODER, *DECODER), trained_as_small),
    "hpm": Method("hpm:tiny", (*ENCODER, *DECODER), trained_as_small),
    "pixio": Method("pixio:tiny", (*ENCODER, *DECODER), trained_as_small),
    "simmim": Method("simmim:tiny", ENCODER, trained_as_small),
    "maskfeat": Method("maskfeat:tiny", ENCODER, trained_as_small),
    "cae": Method("cae:target=pixels,tiny", ENCODER, trained_as_small),
    "attmask": Method("attmask:tiny", ENCODER, with_small_data),
    "capi": Method("capi:tiny", ENCODER, with_small_data),
    "convnext_v2": Method(
        "convnext_v2:tiny",
        ("input.size=64,64", "model.variant=64x1-5", "model.decoder_width=64"),
        trained_as_small,
        about="ConvNeXt, one block of width 64 and 5 of width 128",
    ),
}
