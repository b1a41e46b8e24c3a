"""Codes of the predicted tokens as targets, and pictures of codes."""

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.facts import facts_of
from maskmim.reporting.streams import GREY
from maskmim.targets.codes import codes, draw_codes, palette, quantised, repeat_to_pixels
from maskmim.types import Context, Mask, View


def view_of(outputs=None):
    every = np.arange(12, dtype=np.int32).reshape(2, 6) * 3
    places = np.array([[0, 4], [1, 5]], np.int32)
    mask = Mask(places, places, np.zeros((2, 6), bool), np.ones((2, 2), np.float32))
    context = Context({}, {"image": (2, 3)}, {"codes": jnp.asarray(every)})
    return View(None, context, jnp.zeros((2, 4, 6, 3)), mask, None, outputs or {}, {})


@pytest.mark.proves(113, "a token's target is the code at its own place")
def test_codes_of_predicted_tokens():
    np.testing.assert_array_equal(codes(view_of()), [[0, 12], [21, 33]])
    assert facts_of(codes).needs == ("codes",)


def test_quantised_vectors_are_an_output():
    vectors = np.ones((2, 2, 4), np.float32)
    np.testing.assert_array_equal(quantised(view_of({"quantised": vectors})), vectors)


def test_equal_codes_have_equal_colours_and_others_other_colours():
    colours = np.asarray(palette(jnp.arange(8192)))
    assert colours.dtype == np.uint8 and len(np.unique(colours, axis=0)) > 8100
    near = colours[:64].astype(int)
    apart = np.abs(near[:, None] - near).sum(-1)[~np.eye(64, dtype=bool)]
    assert apart.min() > 30


def test_pictures_of_codes():
    likeliest = np.array([[0, 7], [21, 2]])
    logits = np.eye(40, dtype=np.float32)[likeliest]
    drawn = {
        name: np.asarray(shown)
        for name, shown in draw_codes(view_of(), jnp.asarray(logits)).items()
    }
    true = np.asarray(palette(view_of().context.hints["codes"])).reshape(2, 2, 3, 3)
    np.testing.assert_array_equal(drawn["codes"], true.repeat(2, axis=1).repeat(2, axis=2))
    cells = drawn["predicted codes"][:, ::2, ::2].reshape(2, 6, 3)
    np.testing.assert_array_equal(cells[1, 5], palette(jnp.int32(2)))
    np.testing.assert_array_equal(cells[0, 1], true.reshape(2, 6, 3)[0, 1])
    assert (drawn["masked codes"][:, ::2, ::2].reshape(2, 6, 3)[0, 4] == GREY).all()
    clip = repeat_to_pixels(jnp.ones((1, 8, 3)), (2, 2, 2), (4, 6, 2))
    assert clip.shape == (1, 4, 6, 2, 3)
