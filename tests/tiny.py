"""A method small enough for tests that run many steps: MAE or ColorMAE on 32x24 pictures."""

from functools import partial

import jax
import numpy as np
import optax

from maskmim.losses.regression import squared_error
from maskmim.masks.colour import green
from maskmim.methods.masked import masked
from maskmim.models.masked_vit import vit_mae
from maskmim.objectives.matching import match
from maskmim.targets.pixels import normalised_patches
from maskmim.training.train_step import initial_state
from maskmim.types import Method, Spec

SPEC = Spec((32, 24), 3, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def tiny_model(**changes):
    """A brick: spec -> Net with a grid of 4x3 tokens."""
    chosen = {"variant": "nano", "patch": (8, 8), "decoder_depth": 1, "decoder_width": 32}
    return partial(vit_mae, **{**chosen, "decoder_heads": 2, **changes})


def tiny_method(mask=None, teachers=None, model=None, target=normalised_patches) -> Method:
    """MAE's composition with ColorMAE's green masks."""
    return masked(
        SPEC,
        model=model or tiny_model(),
        mask=mask or partial(green, ratio=0.75),
        objectives={"pixels": partial(match, head="pixels", target=target, loss=squared_error)},
        teachers=teachers or {},
    )


def begin(method: Method, optimiser: optax.GradientTransformation, seed: int = 0):
    """The state before the first step, and the frozen variables: (State, Tree)."""
    return initial_state(method, optimiser, jax.random.key(seed)), method.freeze()


def pictures(examples: int, seed: int = 0) -> np.ndarray:
    """Random pictures u8[examples, 32, 24, 3], smooth enough for patches to differ."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (examples, 8, 6, 3), np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)
