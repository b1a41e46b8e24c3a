"""Painting a part anew: the tokens of a box, and the seam."""

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.generate.repaint import BoxError, blend_repainted, tokens_in_box


def grid_of(box, margin):
    return tokens_in_box(box, size=(64, 96), grid=(4, 6), margin=margin).reshape(4, 6)


def test_a_box_hides_the_tokens_it_touches_and_those_around():
    touched = grid_of((16, 32, 16, 16), 0)
    assert touched.sum() == 1 and touched[1, 2]
    assert grid_of((15, 32, 2, 16), 0)[:2, 2].all()
    around = grid_of((16, 32, 16, 16), 1)
    assert around.sum() == 9 and around[0:3, 1:4].all()
    assert grid_of((48, 80, 16, 16), 1).sum() == 4


@pytest.mark.parametrize("box", [(0, 0, 0, 4), (-1, 0, 4, 4), (60, 0, 8, 4), (0, 90, 4, 8)])
def test_boxes_outside_are_errors(box):
    with pytest.raises(BoxError, match="does not lie in a picture of 64x96"):
        grid_of(box, 1)


def test_the_seam_is_soft_and_the_rest_is_what_it_was():
    rng = np.random.default_rng(0)
    image, painted = rng.uniform(size=(2, 1, 16, 16, 3)).astype(np.float32)
    unknown = np.zeros((1, 4, 4), bool)
    unknown[:, :, 2:] = True
    blended = np.asarray(
        blend_repainted(image, jnp.asarray(painted), unknown.reshape(1, 16), (4, 4))
    )
    np.testing.assert_allclose(blended[:, :, :6], image[:, :, :6], atol=1e-6)
    np.testing.assert_allclose(blended[:, :, 10:], painted[:, :, 10:], atol=1e-6)
    share = ((blended - image) / (painted - image))[0, 0, :, 0]
    assert (np.diff(share[6:10]) > 0.1).all()
