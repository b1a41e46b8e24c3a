"""Position tables against the formula and against torch's resizing."""

import numpy as np
import pytest
import torch

from maskmim.models.layers.posembed import resize_positions, sincos, sinusoid
from tests.compiling import users_jit


def by_formula(width, grid, row, column):
    """Return a row of MAE's table: sines then cosines of the column, then of the row."""
    count = width // 4
    values = []
    for position in (column, row):
        angles = [position / 10_000 ** (i / count) for i in range(count)]
        values += [np.sin(a) for a in angles] + [np.cos(a) for a in angles]
    return np.array(values)


@pytest.mark.proves(3, "sin-cos positions: columns in the first half, sines before cosines")
@pytest.mark.parametrize("grid", [(14, 14), (3, 7), (7, 3)])
def test_table_of_a_picture(grid):
    table = sincos(24, grid)
    assert table.shape == (grid[0] * grid[1], 24)
    assert table.dtype == np.float32
    for row, column in [(0, 0), (1, 2), (2, 1), (grid[0] - 1, grid[1] - 1)]:
        expected = by_formula(24, grid, row, column)
        np.testing.assert_allclose(table[row * grid[1] + column], expected, atol=1e-6)


def test_tables_of_sequences_and_clips():
    line = sincos(6, (5,))
    angles = np.arange(5)[:, None] / 10_000 ** (np.arange(3) / 3)
    np.testing.assert_allclose(line, np.hstack([np.sin(angles), np.cos(angles)]), atol=1e-6)
    clip = sincos(18, (2, 3, 4))
    assert clip.shape == (24, 18)
    # Position (1, 2, 3): columns first, then rows, then frames.
    expected = np.concatenate([sincos(6, (5,))[position] for position in (3, 2, 1)])
    np.testing.assert_allclose(clip[1 * 12 + 2 * 4 + 3], expected, atol=1e-6)


def test_a_width_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="divisible by 4, got 30"):
        sincos(30, (4, 4))


@pytest.mark.parametrize(
    ("old", "new"), [((14, 14), (24, 24)), ((14, 14), (7, 10)), ((3, 8), (5, 4)), ((6, 6), (6, 6))]
)
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_resizing_equals_torch_bicubic(old, new, prefix):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(prefix + old[0] * old[1], 16)).astype(np.float32)
    image = torch.from_numpy(table[prefix:]).reshape(1, *old, 16).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(image, size=new, mode="bicubic", align_corners=False)
    expected = resized.permute(0, 2, 3, 1).reshape(-1, 16).numpy()
    ours = np.asarray(users_jit(resize_positions, static_argnums=(1, 2))(table, old, new))
    np.testing.assert_array_equal(ours[:prefix], table[:prefix])
    np.testing.assert_allclose(ours[prefix:], expected, atol=2e-6)


def test_a_table_smaller_than_its_grid_is_refused():
    with pytest.raises(ValueError, match="9 rows cannot hold the grid"):
        resize_positions(np.zeros((9, 4), np.float32), (4, 4), (2, 2))


def test_sinusoid_alternates_sines_and_cosines():
    table = sinusoid(6, (2, 3, 4))
    assert table.shape == (24, 6) and table.dtype == np.float32
    for token, value in [(0, 0), (5, 2), (17, 3), (23, 5)]:
        angle = token / 10_000 ** (2 * (value // 2) / 6)
        expected = np.sin(angle) if value % 2 == 0 else np.cos(angle)
        np.testing.assert_allclose(table[token, value], expected, atol=1e-6)
