"""Heads that an objective names: one that is not there, or of another width, is a sentence."""

import jax.numpy as jnp
import pytest

from maskmim.errors import UserError
from maskmim.losses import squared_error
from maskmim.models.layers.heads import head_output
from maskmim.objectives import match
from maskmim.types import Mask, View


def view(values: int) -> View:
    weight = jnp.ones((2, 3))
    mask = Mask(*(jnp.zeros((2, 3), jnp.int32),) * 2, jnp.ones((2, 3), bool), weight)
    outputs = {"pixels": jnp.zeros((2, 3, values))}
    return View(None, None, None, mask, None, outputs, {})


def target(view):
    return jnp.ones((2, 3, 4))


def test_a_head_that_the_network_lacks_names_those_that_it_has():
    with pytest.raises(UserError, match=r"no head 'pixel': the network has codes, pixels"):
        head_output({"pixels": 1, "codes": 2}, "pixel")
    with pytest.raises(UserError, match="no head 'other'"):
        match(head="other", target=target, loss=squared_error).find(view(4))


def test_a_head_of_another_width_than_its_target_names_the_key():
    objective = match(head="pixels", target=target, loss=squared_error)
    assert objective.find(view(4))[0].shape == (2, 3)
    with pytest.raises(UserError, match=r"has 5 values .* 4: set model\.heads\.pixels=4"):
        objective.find(view(5))
