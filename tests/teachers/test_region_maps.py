"""The teacher of regions: members of a map at any resolution, as `masks.region_maps` finds them."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.masks.core import MaskError
from maskmim.masks.region_maps import face_members, token_members
from maskmim.teachers.region_maps import members_of_map
from maskmim.types import Context


def found(members, labels, grid=(3, 2)):
    teacher = members_of_map(members=members)
    assert teacher.gives == ("members",) and not teacher.sees_mask
    context = Context({"parts": jnp.asarray(labels)}, {"image": grid}, {})
    return np.asarray(teacher.find(None, (), (), context, None)["members"])


def test_members_of_maps_of_8_bits():
    labels = np.random.default_rng(0).integers(0, 11, (2, 6, 8), np.uint8)
    tokens = labels.reshape(2, 3, 2, 2, 4).transpose(0, 1, 3, 2, 4).reshape(2, 6, 8)
    expected = (tokens[..., None] == np.arange(5)).any(2)
    np.testing.assert_array_equal(found(partial(token_members, regions=5), labels), expected)
    skin, others = (tokens == 1).any(2), np.isin(tokens, (0, 10)).any(2)
    np.testing.assert_array_equal(found(face_members, labels)[..., 4], skin & others)


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(MaskError, match="6x8 pixels does not divide into 4x2 tokens"):
        found(face_members, np.zeros((1, 6, 8), np.uint8), grid=(4, 2))
    context = Context({"image": jnp.zeros((1, 6, 8, 3))}, {"image": (3, 2)}, {})
    with pytest.raises(MaskError, match="no map 'parts' of the regions"):
        members_of_map(members=face_members).find(None, (), (), context, None)
