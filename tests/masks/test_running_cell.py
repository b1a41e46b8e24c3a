"""Dual masking. Official running cells: tests/golden/masks/video_record.py."""

import numpy as np
import pytest
from scipy.stats import chisquare

from maskmim.masks import running_cell, video
from maskmim.masks.core import MaskError
from tests.masks.video_clips import GRID, draw, official_bits
from tests.tolerances import SIGNIFICANCE

PHASES = np.arange(4)


@pytest.mark.proves(15, "running cells are the official ones in all phases")
@pytest.mark.parametrize("decoded", [0.25, 0.5, 0.75])
def test_running_cells_are_the_official_ones(decoded):
    tokens = running_cell.decoded_tokens(PHASES, GRID, decoded=decoded)
    np.testing.assert_array_equal(tokens, ~official_bits(f"cells_{1 - decoded}"))


@pytest.mark.proves(15, "each place is decoded in half of the time steps, over four steps all are")
def test_each_place_is_decoded_half_of_the_time():
    decoded = np.asarray(running_cell.decoded_tokens(PHASES, GRID, decoded=0.5))
    decoded = decoded.reshape(4, *GRID)
    np.testing.assert_array_equal(decoded.sum(1), 4)
    np.testing.assert_array_equal(decoded.sum((2, 3)), 98)
    for start in range(5):
        assert decoded[:, start : start + 4].any(1).all()
    assert len(np.unique(decoded.reshape(4, -1), axis=0)) == 4


@pytest.mark.proves(15, "all four phases occur equally often")
def test_all_phases_occur_equally_often():
    mask = draw(running_cell.dual, (4, 2, 2), count=2000, ratio=0.5)
    decoded = np.asarray(running_cell.decoded_tokens(PHASES, (4, 2, 2), decoded=0.5))
    predicted = np.zeros((2000, 16), bool)
    np.put_along_axis(predicted, mask.predict, True, axis=1)
    counts = (predicted[:, None] == decoded).all(2).sum(0)
    assert counts.sum() == 2000 and chisquare(counts).pvalue > SIGNIFICANCE


@pytest.mark.proves(15, "the encoder sees a tube; the loss counts decoded tokens hidden from it")
def test_decoded_tokens_count_where_they_are_hidden():
    mask = draw(running_cell.dual, count=6, ratio=0.9)
    counts = running_cell.dual_counts(GRID, ratio=0.9)
    assert (mask.visible.shape[1], mask.predict.shape[1]) == counts == (160, 784)
    tube = draw(video.tube, count=6, ratio=0.9)
    np.testing.assert_array_equal(mask.visible, tube.visible)
    np.testing.assert_array_equal(mask.hidden, tube.hidden)
    seen = np.zeros_like(mask.hidden)
    np.put_along_axis(seen, mask.visible, True, axis=1)
    np.testing.assert_array_equal(mask.weight, ~np.take_along_axis(seen, mask.predict, axis=1))
    assert 0 < mask.weight.mean() < 1


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(MaskError, match="15 x 14 tokens do not divide into cells of 2 x 2"):
        running_cell.dual_counts((8, 15, 14), ratio=0.9)
    for decoded in (0.0, 0.4, 1.0):
        with pytest.raises(MaskError, match=r"0.25, 0.5 or 0.75"):
            running_cell.places_decoded(decoded)
