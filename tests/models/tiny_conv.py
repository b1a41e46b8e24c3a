"""A network of two convolutions with batch norms, small enough for tests that train."""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn

from maskmim.losses.regression import squared_error
from maskmim.masks.roles import in_place
from maskmim.masks.uniform import random
from maskmim.methods.masked import masked
from maskmim.models.in_place import LinearHeads
from maskmim.models.layers.batch_norm import BatchNorm
from maskmim.models.layers.encoder import BaseEncoder
from maskmim.models.net import picture_net
from maskmim.objectives.matching import match
from maskmim.targets.pixels import normalised_patches
from maskmim.types import Encoded, Method, Spec
from tests.tiny import SPEC

PATCH = (8, 8)
WIDTH = 16


class ConvEncoder(BaseEncoder):
    """Patches to tokens by a dense layer, then convolutions over the grid with batch norms."""

    grid: tuple[int, int]
    width: int = WIDTH

    def _encode(self, patches, visible, hidden, capture, randomness):
        x = nn.Dense(self.width, name="embed")(patches)
        filling = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, self.width))
        if hidden is not None:
            x = jnp.where(hidden[..., None], filling, x)
        x = x.reshape(-1, *self.grid, self.width)
        for number in range(2):
            x = nn.Conv(self.width, (3, 3), name=f"conv_{number}")(x)
            x = nn.relu(BatchNorm(name=f"norm_{number}")(x))
        tokens = x.reshape(x.shape[0], -1, self.width)
        return Encoded(tokens[:, :0], tokens)


def tiny_conv(spec: Spec = SPEC, *, norms: float | None = 0.9):
    grid = tuple(n // side for n, side in zip(spec.size, PATCH, strict=True))
    heads = LinearHeads({"pixels": 8 * 8 * spec.channels}, jnp.float32)
    encoder = ConvEncoder(grid)
    return picture_net(
        spec, patch=PATCH, width=WIDTH, encoder=encoder, predictor=heads, norms=norms
    )


def tiny_conv_method(teachers=None, mask=None, **changes) -> Method:
    return masked(
        SPEC,
        model=partial(tiny_conv, **changes),
        mask=mask or partial(in_place, sampler=partial(random, ratio=0.5)),
        objectives={
            "pixels": partial(match, head="pixels", target=normalised_patches, loss=squared_error)
        },
        teachers=teachers or {},
    )
