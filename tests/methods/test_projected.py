"""The method of projected tokens refuses what would let the encoder see more, or hides twice."""

from functools import partial

import jax
import pytest

from maskmim.losses.regression import absolute_error
from maskmim.masks.projection import draw
from maskmim.masks.roles import everything, in_place
from maskmim.masks.uniform import random
from maskmim.methods.masked import MethodError, masked
from maskmim.methods.projected import projected
from maskmim.models.layers.errors import ModelError
from maskmim.models.relative_vit import relative_vit_in_place
from maskmim.models.ropim import projected_vit
from maskmim.objectives.removed import removed
from maskmim.targets.pixels import patches
from maskmim.types import Randomness
from tests.tiny import SPEC, pictures

SIZES = {"variant": "nano", "patch": (8, 8)}
PARTS = {
    "objectives": {"pixels": partial(removed, head="pixels", target=patches, loss=absolute_error)},
    "teachers": {},
}


def test_a_model_that_takes_no_projection_is_refused():
    model = partial(relative_vit_in_place, **SIZES)
    with pytest.raises(MethodError, match=r"takes no projection.*projected_vit"):
        projected(SPEC, model=model, mask=everything, projection=draw, **PARTS)


def test_a_mask_that_hides_tokens_is_refused():
    model = partial(projected_vit, **SIZES)
    mask = partial(in_place, sampler=partial(random, ratio=0.5))
    with pytest.raises(MethodError, match=r"in_place\(.*hides tokens besides the projection"):
        projected(SPEC, model=model, mask=mask, projection=draw, **PARTS)


def test_the_objective_needs_a_projection():
    method = masked(SPEC, model=partial(projected_vit, **SIZES), mask=everything, **PARTS)
    variables = jax.eval_shape(method.variables, jax.random.key(0))
    batch, randomness = {"image": pictures(2)}, Randomness.of(jax.random.key(0), 2)
    with pytest.raises(ModelError, match=r"needs the projection.*methods\.projected"):
        jax.eval_shape(lambda v: method.loss(v, batch, randomness, 0.0), variables)


def test_the_chain_names_the_projection():
    model = partial(projected_vit, **SIZES)
    method = projected(
        SPEC, model=model, mask=everything, projection=partial(draw, size=4), **PARTS
    )
    assert method.chain[0] == ("projection", "masks.projection.draw(size=4)")
