"""Curves are drawn with a line for each name."""

import numpy as np

from maskmim.reporting.curves import draw_curves


def test_a_picture_of_every_line():
    curves = {"random": ([0, 0.5], [40.0, 30.0]), "green": ([0, 0.5], [40.0, 20.0])}
    words = {"title": "12 images", "across": "share", "up": "top-1 (%)"}
    both = draw_curves(curves, **words)
    one = draw_curves({"random": curves["random"]}, **words)
    assert both.dtype == np.uint8 and both.ndim == 3 and both.shape == one.shape
    assert (both != one).any() and both.std() > 5
