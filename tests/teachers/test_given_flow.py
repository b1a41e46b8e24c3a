"""The flow of tokens: the way of their middles, of sprites and of drawn flows; what tubes see."""

import jax
import numpy as np
import pytest

from maskmim.data.sprites import sprites
from maskmim.masks.warped import tube
from maskmim.teachers.given_flow import FlowError, given_flow
from maskmim.types import Context, Randomness, random_key

GRID = (4, 10, 16)  # of 8 frames of 80 x 128 pixels


def flow_of(flow, grid=GRID):
    context = Context({"flow": flow}, {"video": grid}, {})
    return np.asarray(given_flow().find(None, (), (), context, None)["flow"])


@pytest.fixture(scope="module")
def clips():
    records = sprites(split="val", count=24, frames=8, size=(80, 128), diameter=(0.45, 0.5))
    return [records[index] for index in range(24)]


def test_tokens_move_as_the_pixels_in_their_middles(clips):
    flow = np.stack([clip.fields["flow"] for clip in clips[:2]])
    found = flow_of(flow)
    assert found.shape == (2, *GRID, 2) and found.dtype == np.float32
    for example, step, row, column in np.ndindex(2, *GRID):
        place = np.array([8 * row + 4, 8 * column + 4])
        for frame in (2 * step, 2 * step + 1):
            inside = np.clip(place, 0, (79, 127))
            place = place + flow[example, frame, inside[0], inside[1]][::-1].astype(int)
        expected = (place - (8 * row + 4, 8 * column + 4)) / 8
        np.testing.assert_allclose(found[example, step, row, column], expected, atol=1e-6)
    assert np.abs(found).max() > 0.2


def test_visible_tokens_follow_the_object(clips):
    """Visible tokens of the object stay visible where it goes, more often than in still tubes."""
    flow = flow_of(np.stack([clip.fields["flow"] for clip in clips]))

    @jax.jit
    def draw(flow):
        context = Context({}, {"video": GRID}, {"flow": flow})
        return tube(Randomness.of(random_key(0), len(clips)), context, ratio=0.5)

    shares = []
    for given in (np.zeros_like(flow), flow):
        visible = ~np.asarray(draw(given).hidden).reshape(-1, *GRID)
        kept = []
        for example, step, row, column in np.argwhere(np.abs(flow[:, :-1]).sum(-1) > 0):
            if visible[example, step, row, column]:
                way = flow[example, step, row, column]
                place = np.rint(way + np.array([row, column])).astype(int).clip(0, (9, 15))
                kept.append(visible[example, step + 1, place[0], place[1]])
        shares.append(np.mean(kept))
    print(shares)
    assert shares[1] > shares[0] + 0.1, shares


def test_flow_that_does_not_fit_is_an_error():
    blank = np.zeros((2, 8, 80, 128, 2), np.float32)
    assert not flow_of(blank).any()
    with pytest.raises(FlowError, match=r"lacks the flow 'flow': declare input.fields.flow"):
        given_flow().find(None, (), (), Context({}, {"video": GRID}, {}), None)
    with pytest.raises(FlowError, match=r"\(8, 80, 128, 2\) is no flow .* \(3, 5, 8\)"):
        flow_of(blank, (3, 5, 8))
    with pytest.raises(FlowError, match=r"token grid \(5, 8\)"):
        flow_of(blank, (5, 8))
