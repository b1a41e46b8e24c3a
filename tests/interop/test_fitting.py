"""Which arrays of a source a network takes, and tables of another grid; torch resizes as we do."""

import numpy as np
import pytest
import torch

from maskmim.interop.difference import WeightsError
from maskmim.interop.fitting import Geometry, Selection, fit
from maskmim.models.layers.resized_positions import resize_offsets, resize_table
from maskmim.tree_paths import grouped_paths
from tests.tolerances import PARITY

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def in_torch(table, old, new):
    """Return a table [prod(old), D] resized by torch's bicubic interpolation with antialiasing."""
    image = torch.from_numpy(table.reshape(*old, -1)).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(image, new, mode="bicubic", antialias=True)
    return resized[0].permute(1, 2, 0).reshape(-1, table.shape[-1]).numpy()


@pytest.mark.parametrize(("old", "new"), [((4, 4), (6, 6)), ((6, 4), (3, 5)), ((2, 8), (8, 2))])
def test_positions_are_resized_as_torch_resizes(old, new):
    table = normal(2 + old[0] * old[1], 5)
    resized = resize_table(table, old, new)
    np.testing.assert_array_equal(resized[:2], table[:2])
    np.testing.assert_allclose(resized[2:], in_torch(table[2:], old, new), atol=PARITY)
    stacked = resize_table(np.stack([table, 2 * table]), old, new)
    np.testing.assert_allclose(stacked[1], 2 * resized, rtol=1e-5, atol=1e-6)


def test_biases_of_offsets_are_resized_as_torch_resizes():
    old, new = (3, 2), (5, 4)
    table = normal(5 * 3 + 3, 2)
    resized = resize_offsets(table, old, new, last=3)
    assert resized.shape == (9 * 7 + 3, 2)
    np.testing.assert_array_equal(resized[-3:], table[-3:])
    np.testing.assert_allclose(resized[:-3], in_torch(table[:-3], (5, 3), (9, 7)), atol=PARITY)
    with pytest.raises(ValueError, match="cannot be resized"):
        resize_offsets(table, (4, 4), new)


GRID = Geometry({"image": (4, 4)}, (8, 8, 3))


def taken(arrays, shapes, *, take=(), fresh=(), old=GRID, new=GRID):
    return fit(arrays, shapes, Selection(take, fresh), old, new, where="runs/a")


ARRAYS = {
    "encoder/positions": normal(16, 4),
    "encoder/class_token": normal(1, 1, 4),
    "decoder/embed/kernel": normal(4, 6),
    "extra/codebook/codes": normal(3, 2),
}
SHAPES = {path: array.shape for path, array in ARRAYS.items()}


def test_params_are_taken_by_their_paths_and_extra_only_where_it_is_named():
    result = taken(ARRAYS, {**SHAPES, "head/kernel": (2, 2)})
    assert result.fresh == ("extra/codebook/codes", "head/kernel") and not result.resized
    assert result.unused == ("extra/codebook/codes",)
    for path, array in result.arrays.items():
        np.testing.assert_array_equal(array, ARRAYS[path])
    assert set(taken(ARRAYS, SHAPES, take=("encoder", "extra/codebook")).arrays) == {
        "encoder/positions",
        "encoder/class_token",
        "extra/codebook/codes",
    }
    assert set(taken(ARRAYS, SHAPES, take=(".*",)).arrays) == set(ARRAYS)
    assert set(taken(ARRAYS, SHAPES, take=("encoder/",), fresh=("encoder/pos.*",)).arrays) == {
        "encoder/class_token"
    }


def test_a_pattern_means_whole_names():
    arrays = {"encoder_b/kernel": normal(2, 2), "encoder/kernel": normal(2, 2)}
    shapes = {path: (2, 2) for path in arrays}
    assert set(taken(arrays, shapes, take=("encoder",)).arrays) == {"encoder/kernel"}


@pytest.mark.parametrize(
    ("path", "rows", "other_rows", "words"),
    [
        ("encoder/positions", 16, 24, "4x4 -> 4x6"),
        ("decoder/positions", 1 + 16, 1 + 24, "4x4 -> 4x6"),
        ("encoder/relative_bias", 49, 77, "4x4 -> 4x6"),
        ("encoder/relative_bias", 49 + 3, 77 + 3, "4x4 -> 4x6"),
        ("encoder/stage0_blocks/plain/relative_bias", 25, 121, "3x3 -> 6x6"),
        ("encoder/blocks0/relative/row_positions", 7, 11, "7 -> 11"),
    ],
)
def test_tables_of_another_grid_are_resized(path, rows, other_rows, words):
    new = Geometry({"image": (4, 6)}, (8, 8, 3))
    result = taken({path: normal(rows, 3)}, {path: (other_rows, 3)}, new=new)
    assert result.arrays[path].shape == (other_rows, 3)
    assert result.resized == (f"{path} {words}",)


def test_a_grid_of_equally_many_tokens_is_another_grid():
    table = normal(16, 3)
    new = Geometry({"image": (2, 8)}, (8, 8, 3))
    result = taken({"encoder/positions": table}, {"encoder/positions": (16, 3)}, new=new)
    assert result.resized == ("encoder/positions 4x4 -> 2x8",)
    expected = in_torch(table, (4, 4), (2, 8))
    np.testing.assert_allclose(result.arrays["encoder/positions"], expected, atol=PARITY)


def test_windows_of_the_same_size_stay_as_they_are():
    path, table = "encoder/stage0_blocks/plain/relative_bias", normal(1, 25, 2)
    new = Geometry({"image": (4, 6)})
    result = taken({path: table}, {path: table.shape}, new=new)
    assert not result.resized and result.arrays[path] is table


@pytest.mark.parametrize(
    ("shapes", "settings", "words"),
    [
        (
            {**SHAPES, "decoder/embed/kernel": (4, 8)},
            {},
            r"(?s)decoder/embed/kernel: \(4, 6\) in the source, \(4, 8\) here.*"
            r"--config.begin.fresh=decoder$",
        ),
        (SHAPES, {"take": ("encodr",)}, "'encodr', which matches nothing .* it has encoder, dec"),
        (
            SHAPES,
            {"fresh": ("encoder/position/x",)},
            "nothing of this network: below encoder it has positions, class_token;",
        ),
        (SHAPES, {"fresh": ("head",)}, "begin.fresh has 'head', which matches nothing"),
        ({"head/kernel": (2, 2)}, {}, "nothing to begin with: it has decoder, encoder, extra/code"),
        (
            {**SHAPES, "head/kernel": (2, 2)},
            {"take": ("encoder", "head")},
            "begin.take has 'head', but runs/a has only",
        ),
        ({**SHAPES, "encoder/positions": (18, 4)}, {}, r"\(16, 4\) in the source, \(18, 4\) here"),
    ],
)
def test_what_does_not_fit_is_named(shapes, settings, words):
    with pytest.raises(WeightsError, match=words):
        taken(ARRAYS, shapes, **settings)


def test_patches_of_another_form_with_equally_many_values_are_refused():
    arrays = {"encoder/embed/kernel": normal(192, 4), "decoder/head_pixels/bias": normal(192)}
    shapes = {path: array.shape for path, array in arrays.items()}
    other = Geometry({"image": (8, 2)}, (4, 16, 3))
    with pytest.raises(WeightsError, match=r"tokens of 8x8 with 3 .* are 4x16 with 3: .*embed/ker"):
        taken(arrays, shapes, new=other)
    pixels = "encoder/embed", "decoder/head_pixels"
    arrays["encoder/class_token"], shapes["encoder/class_token"] = normal(1, 1, 4), (1, 1, 4)
    assert set(taken(arrays, shapes, fresh=pixels, new=other).arrays) == {"encoder/class_token"}


def test_weights_that_are_not_finite_are_refused():
    arrays = {**ARRAYS, "encoder/class_token": np.full((1, 1, 4), np.nan, np.float32)}
    with pytest.raises(WeightsError, match="encoder/class_token holds inf or nan"):
        taken(arrays, SHAPES)


def test_names_are_grouped_by_sections_that_are_whole():
    every = ["a/b/c", "a/b/d", "a/e", "f"]
    assert grouped_paths(["a/b/c", "a/b/d"], every) == ["a/b"]
    assert grouped_paths(["a/b/c", "f"], every) == ["a/b/c", "f"]
    assert grouped_paths(every, every) == ["a", "f"]
