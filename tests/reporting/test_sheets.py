"""Pictures: their content and layout, and saving them."""

import numpy as np
import pytest
from PIL import Image

from maskmim.files import save_png
from maskmim.reporting import sheets
from maskmim.reporting.sheets import (
    describe_hidden,
    draw_mask_sheet,
    draw_sheet,
    reconstruction_columns,
)
from maskmim.reporting.streams import GREY, as_rgb, grey_hidden


def photos(examples, height=32, width=32, channels=3, seed=0):
    shape = (examples, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def halves(examples):
    """Masks that hide the left half of a 4x4 grid."""
    return np.tile(np.array([True, True, False, False] * 4), (examples, 1))


def find(sheet, picture):
    """The (row, column) places of the sheet at which the picture stands."""
    height, width = picture.shape[:2]
    first = np.argwhere((sheet == picture[0, 0]).all(-1))
    return [
        (y, x)
        for y, x in map(tuple, first.tolist())
        if np.array_equal(sheet[y : y + height, x : x + width], picture)
    ]


def large(picture, factor=4):
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def test_cover_hides_patches_in_row_major_order():
    images = np.full((1, 4, 6, 3), 7, np.uint8)
    hidden = np.array([[True, False, False, False, False, True]])
    shown = grey_hidden(images, hidden, (2, 3))[0, ..., 0]
    expected = np.full((4, 6), 7)
    expected[:2, :2] = expected[2:, 4:] = GREY
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize(("grid", "tokens"), [((2, 3), 4), ((3, 3), 9)])
def test_a_mask_that_does_not_fit_is_refused(grid, tokens):
    with pytest.raises(ValueError, match="does not fit 1 images of 4 x 6"):
        grey_hidden(np.zeros((1, 4, 6, 3), np.uint8), np.zeros((1, tokens), bool), grid)


def masks_of(images, hidden, grid=(4, 4)):
    """The pictures of one stream for a sheet of masks."""
    shown = as_rgb(images)
    return {"image": (shown, grey_hidden(shown, hidden, grid))}


def test_a_mask_sheet_shows_each_image_left_of_what_is_visible_of_it():
    images, hidden = photos(5), halves(5)
    drawn = draw_mask_sheet(masks_of(images, hidden), {"image": hidden}, title="random")
    assert drawn.dtype == np.uint8
    places = []
    for image, masked in zip(images, grey_hidden(images, hidden, (4, 4)), strict=True):
        ((y, x),) = find(drawn, large(image))
        ((masked_y, masked_x),) = find(drawn, large(masked))
        assert masked_y == y
        assert 128 < masked_x - x < 140
        places.append((y, x))
    assert places == sorted(places)  # in reading order


def test_captions_count_hidden_patches():
    assert describe_hidden(halves(3)) == "50.0% hidden: 8 of 16 patches of each image"
    uneven = halves(2)
    uneven[1, 2] = True
    assert describe_hidden(uneven) == "53.1% hidden: 8 to 9 of 16 patches of each image"


def test_a_reconstruction_sheet_has_its_columns_in_order():
    versions = [photos(3, seed=seed) for seed in range(4)]
    image, masked, raw, restored = versions
    columns = reconstruction_columns(image, masked, raw, restored)
    drawn = draw_sheet(columns, title="step 7")
    for row in range(3):
        places = [find(drawn, large(part[row])) for part in (image, masked, restored, raw)]
        assert [len(place) for place in places] == [1, 1, 1, 1]
        flat = [place[0] for place in places]
        assert flat == sorted(flat)
        assert len({y for y, _ in flat}) == 1


def test_equal_pastes_are_shown_once():
    image, masked, raw = (photos(1, seed=seed) for seed in range(3))
    drawn = draw_sheet(reconstruction_columns(image, masked, raw, raw), title="step 7")
    assert len(find(drawn, large(raw[0]))) == 1


@pytest.mark.parametrize(("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (4, [0, 1, 2])])
def test_any_number_of_channels(channels, shown):
    images = photos(1, channels=channels)
    hidden = halves(1)
    drawn = draw_mask_sheet(masks_of(images, hidden), {"image": hidden}, title="random")
    assert len(find(drawn, large(images[0][..., shown]))) == 1


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((32, 32), (128, 128)),
        ((32, 24), (192, 144)),
        ((96, 96), (192, 192)),
        ((224, 224), (224, 224)),
        ((512, 256), (320, 160)),
        ((8, 512), (5, 320)),
    ],
)
def test_sizes_that_can_be_looked_at(size, seen):
    assert sheets.scale_to_limits(photos(2, *size)).shape == (2, *seen, 3)


def test_clips_are_strips_of_frames_below_each_other():
    clips = {
        name: photos(2 * 5, seed=seed).reshape(2, 5, 32, 32, 3) for seed, name in enumerate("ab")
    }
    drawn = draw_sheet(clips, title="step 7")
    tops = []
    for example in range(2):
        for name in "ab":
            places = [find(drawn, large(frame, 3)) for frame in clips[name][example]]
            assert [len(place) for place in places] == [1] * 5
            row = [place[0] for place in places]
            assert row == sorted(row) and len({y for y, _ in row}) == 1
            tops.append(row[0][0])
    assert tops == sorted(tops) and len(set(tops)) == 4


def test_long_clips_show_eight_frames_from_the_first_to_the_last():
    clips = photos(16).reshape(1, 16, 32, 32, 3)
    drawn = draw_sheet({"clip": clips}, title="step 7")
    seen = [len(find(drawn, large(frame, 3))) for frame in clips[0]]
    assert sum(seen) == 8 and seen[0] == seen[-1] == 1


def test_streams_of_several_sizes_stand_beside_each_other():
    left, right = photos(2), photos(2, height=64, width=16, seed=1)
    hidden = {"image": halves(2), "depth": halves(2)}
    pictures = {"image": (left, left // 2), "depth": (right, right // 2)}
    drawn = draw_mask_sheet(pictures, hidden, title="random")
    for row in range(2):
        versions = (left[row], left[row] // 2, right[row], right[row] // 2)
        shown = [sheets.scale_to_limits(each[None])[0] for each in versions]
        places = [find(drawn, part) for part in shown]
        assert [len(place) for place in places] == [1] * 4
        flat = [place[0] for place in places]
        assert flat == sorted(flat, key=lambda place: place[1]) and len({y for y, _ in flat}) == 1


def test_a_picture_beside_clips_is_a_strip_of_one_frame():
    clips, picture = photos(2 * 3).reshape(2, 3, 32, 32, 3), photos(2, seed=9)
    drawn = draw_sheet({"clip": clips, "map": picture}, title="step 7")
    for example in range(2):
        assert len(find(drawn, large(picture[example], 3))) == 1
        assert all(len(find(drawn, large(frame, 3))) == 1 for frame in clips[example])


def test_saving_makes_the_folder_and_leaves_one_file(tmp_path):
    path = tmp_path / "images" / "masks.png"
    for seed in range(2):
        picture = photos(1, seed=seed)[0]
        save_png(path, picture)
        np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)
    assert [p.name for p in path.parent.iterdir()] == ["masks.png"]


def test_a_picture_that_cannot_be_saved_leaves_the_old_one(tmp_path):
    path = tmp_path / "masks.png"
    save_png(path, photos(1)[0])
    before = path.read_bytes()
    with pytest.raises((TypeError, ValueError)):
        save_png(path, np.zeros((3, 3, 5), np.float64))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["masks.png"]
