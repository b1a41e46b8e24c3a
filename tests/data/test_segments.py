"""Segments of photographs: equal to scikit-image's, stored without changing an example."""

from functools import partial

import numpy as np
import pytest
from skimage.segmentation import felzenszwalb as peer

from maskmim.data import segments
from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.data.segments import felzenszwalb, segmented


def photographs(count):
    """Some of the embedded photographs."""
    source = grocery(split="val")
    return [decode(source[40 * number].encoded, channels=3) for number in range(count)]


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture
def forgotten(monkeypatch):
    """Nothing is in memory, before and after."""
    kept = {}
    monkeypatch.setattr(segments, "_kept", kept)
    return kept


@pytest.mark.proves(50, "regions are scikit-image's segments of Felzenszwalb and Huttenlocher")
@pytest.mark.parametrize(("scale", "min_size"), [(50, 50), (30, 1), (1000, 1000)])
def test_segments_are_those_of_scikit_image(monkeypatch, scale, min_size):
    """Where edges of equal cost are taken in a stable order, which numpy's default sort is not."""
    pictures = [*photographs(2), noise(0, 23, 31, 3), noise(1, 1, 9, 3), noise(2, 12, 8, 1)]
    pictures.append(np.repeat(np.repeat(noise(3, 4, 5, 3), 6, axis=0), 6, axis=1))
    monkeypatch.setattr(np, "argsort", partial(np.argsort, kind="stable"))
    found = []
    for picture in pictures:
        ours = felzenszwalb(picture, scale=scale, min_size=min_size)
        theirs = peer(picture, scale=scale, sigma=0.8, min_size=min_size)
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == np.int32 and ours.shape == picture.shape[:2]
        found.append(ours.max() + 1)
    assert min_size > 50 or max(found) > 8


def test_a_flat_picture_is_one_segment():
    assert not felzenszwalb(np.full((7, 5, 3), 90, np.uint8)).any()


def test_a_stored_map_is_the_map(tmp_path, forgotten, monkeypatch):
    """From memory and from a folder, and never that of another picture or other parameters."""
    calls = []
    plain = segments.felzenszwalb

    def counted(pixels, **keywords):
        calls.append(keywords)
        return plain(pixels, **keywords)

    monkeypatch.setattr(segments, "felzenszwalb", counted)
    one, two = noise(0, 20, 16, 3), noise(1, 20, 16, 3)
    rng = np.random.default_rng(0)
    for cache in ("", str(tmp_path / "maps")):
        for picture, scale in ((one, 30.0), (two, 30.0), (one, 300.0)):
            read = partial(segmented, rng, picture, scale=scale, min_size=4, cache=cache)
            before = len(calls)
            first = read()
            assert len(calls) == before + 1
            again = read()
            assert len(calls) == before + 1
            expected = plain(picture, scale=scale, min_size=4)
            for made in (first, again):
                np.testing.assert_array_equal(made["regions"], expected)
                np.testing.assert_array_equal(made["image"], picture)
    assert len(forgotten) == 3
    assert len([path for path in (tmp_path / "maps").rglob("*") if path.is_file()]) == 3


def test_a_damaged_file_is_made_again(tmp_path, forgotten):
    read = partial(
        segmented, np.random.default_rng(0), noise(0, 20, 16, 3), min_size=4, cache=str(tmp_path)
    )
    expected = read()["regions"]
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    file.write_bytes(file.read_bytes()[:9])
    np.testing.assert_array_equal(read()["regions"], expected)
    assert len(file.read_bytes()) > 9 and not forgotten


def test_memory_is_bounded(forgotten):
    for seed in range(4):
        segmented(np.random.default_rng(0), noise(seed, 6, 6, 3), remember=2)
    assert len(forgotten) == 2
