"""The gallery's sheets: the colours of tokens, the rows and their sizes."""

from __future__ import annotations

import numpy as np
import pytest

from maskmim.mask_tools.discovery import samplers
from maskmim.mask_tools.gallery import overlay as ink
from maskmim.mask_tools.gallery.draw import MaskMaps, draw_sampler
from maskmim.mask_tools.gallery.overlay import overlay, tile
from maskmim.mask_tools.gallery.scene import photograph_scene, spectrogram_scene
from maskmim.mask_tools.gallery.sheet import (
    DPI,
    EXAMPLES,
    FOOTER,
    HEADER,
    MOST_VIEWS,
    NOTE,
    PICTURE,
    ROW_GAP,
    WIDTH,
    arrangement,
    draw_sheet,
    sheet_rows,
    sheet_size,
    used_kinds,
)
from maskmim.mask_tools.gallery.table import measure_masks


def view_of(grid, examples=1):
    shape = (examples, *grid)
    seen, predicted = np.zeros(shape, bool), np.zeros(shape, bool)
    seen.reshape(examples, -1)[:, [0, 1]] = True
    predicted.reshape(examples, -1)[:, [1, 2]] = True
    return MaskMaps(seen, ~seen, predicted)


def near(pixels, colour, strength):
    return np.abs(pixels - np.array(colour) * strength).max() <= 255 * (1 - strength) + 1


def test_an_overlay_tells_four_kinds_of_tokens_apart():
    scene = photograph_scene((2, 2))
    size = scene.frames.shape[1] // 2
    picture = overlay(scene, view_of((2, 2)), 0).astype(float)
    plain = scene.frames[0] * 255
    np.testing.assert_allclose(picture[:size, :size], plain[:size, :size], atol=0.51)
    assert near(picture[:size, size:], ink.SEEN_PREDICTED, ink.TINT)
    assert near(picture[size:, :size], ink.WITHHELD, ink.VEIL)
    assert near(picture[size:, size:], ink.LEFT_OUT, ink.VEIL)


def test_the_colours_differ_in_lightness():
    weights = np.array([0.299, 0.587, 0.114])
    light = sorted(np.array(c) @ weights for c in (ink.WITHHELD, ink.LEFT_OUT, ink.SEEN_PREDICTED))
    assert np.diff([*light, 255]).min() > 10


def test_the_frames_of_a_clip_stand_side_by_side():
    scene = photograph_scene((3, 2, 2))
    height, width = scene.frames.shape[1:3]
    picture = overlay(scene, view_of((3, 2, 2)), 0)
    assert picture.shape == (height, 3 * width + 2 * ink.FRAME_GAP, 3)
    assert (picture[:, width : width + ink.FRAME_GAP] == 255).all()
    assert near(picture[:, width + ink.FRAME_GAP : 2 * width], ink.LEFT_OUT, ink.VEIL)


def test_a_spectrogram_shows_time_to_the_right_and_pitch_upwards():
    scene = spectrogram_scene((4, 2))
    picture = overlay(scene, view_of((4, 2)), 0).astype(float)
    size = picture.shape[0] // 2
    plain = scene.frames[0][:size, :size].swapaxes(0, 1)[::-1] * 255
    np.testing.assert_allclose(picture[size:, :size], plain, atol=0.51)  # Token 0: early and low.
    assert near(picture[:size, :size], ink.SEEN_PREDICTED, ink.TINT)
    assert near(picture[size:, size : 2 * size], ink.WITHHELD, ink.VEIL)


def test_tiles_fill_row_by_row():
    tiles = tile([np.full((2, 3, 3), value, np.uint8) for value in (1, 2, 3)], columns=2, gap=1)
    assert tiles.shape == (5, 7, 3)
    assert (
        (tiles[:2, 4:] == 2).all() and (tiles[3:, :3] == 3).all() and (tiles[3:, 4:] == 255).all()
    )


@pytest.mark.parametrize("aspect", [0.1, 0.125, 0.5, 1.0, 1.6, 4.0, 4.3, 8.0, 40.0, 500.0])
def test_pictures_of_any_shape_fit_their_column(aspect):
    rows, columns, cell = arrangement(aspect)
    assert rows == 1 or columns == 1
    assert columns * cell * aspect <= EXAMPLES + 1e-9
    assert columns == 1 or cell == PICTURE


def test_a_sheet_has_a_row_for_each_view_and_the_announced_size():
    one = next(each for each in samplers() if each.name == "uniform.random")
    scene = photograph_scene((4, 5))
    drawn = draw_sampler(one, (4, 5), {}, ratio=0.5, seed=0, count=256)
    rows = sheet_rows(drawn, scene, [measure_masks(view) for view in drawn.views])
    empty = sheet_rows(drawn._replace(views=(), trouble="needs hint x"), scene, [])
    assert [len(rows), len(empty), empty[0].height] == [1, 1, NOTE]
    many = drawn._replace(views=drawn.views * 9, labels=tuple("abcdefghi"))
    assert len(sheet_rows(many, scene, [measure_masks(drawn.views[0])] * 9)) == MOST_VIEWS
    height = round((HEADER + PICTURE + NOTE + 2 * ROW_GAP + FOOTER) * DPI)
    assert sheet_size(rows + empty) == (height, round(WIDTH * DPI))
    picture = draw_sheet("title", rows + empty)
    assert picture.shape == (*sheet_size(rows + empty), 3) and picture.dtype == np.uint8


@pytest.mark.parametrize("grid", [(20,), (2, 3, 3), (1, 12), (12, 1)])
def test_every_kind_of_grid_gives_a_sheet_with_the_masks_on_it(grid):
    one = next(each for each in samplers() if each.name == "uniform.random")
    drawn = draw_sampler(one, grid, {}, ratio=0.5, seed=0, count=256)
    rows = sheet_rows(drawn, photograph_scene(grid), [measure_masks(view) for view in drawn.views])
    picture = draw_sheet("title", rows).astype(int)
    blue = np.abs(picture - ink.WITHHELD).max(-1) < 60
    assert blue[int(HEADER * DPI) :].sum() > 1000


def test_the_legend_has_the_kinds_that_the_examples_show():
    drawn, scene = drawn_uniform((4, 5))
    rows = sheet_rows(drawn, scene, [measure_masks(view) for view in drawn.views])
    assert [kind.meaning for kind in used_kinds(rows)] == ["seen", "not seen, predicted"]
    view = drawn.views[0]
    other = rows[0]._replace(view=view._replace(predicted=view.seen))
    names = [kind.meaning for kind in used_kinds([other])]
    assert names == ["not seen, not predicted", "seen and predicted"]


def test_plain_masks_have_the_colours_of_the_legend_alone():
    drawn, scene = drawn_uniform((4, 5))
    plain = ink.overlay(scene, drawn.views[0], 0, plain=True)
    colours = {tuple(colour) for colour in plain.reshape(-1, 3).tolist()}
    assert colours == {ink.SEEN, ink.WITHHELD}
    tokens = plain[:: plain.shape[0] // 4, :: plain.shape[1] // 5][:4, :5]
    np.testing.assert_array_equal((tokens == ink.SEEN).all(-1), drawn.views[0].seen[0])


def drawn_uniform(grid):
    """Masks of uniform.random and the scene they are shown on."""
    one = next(each for each in samplers() if each.name == "uniform.random")
    return draw_sampler(one, grid, {}, ratio=0.5, seed=0, count=256), photograph_scene(grid)
