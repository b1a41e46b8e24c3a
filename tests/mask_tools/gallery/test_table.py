"""The gallery's statistics of known masks."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.mask_tools.discovery import Sampler, samplers
from maskmim.mask_tools.gallery import examples
from maskmim.mask_tools.gallery.draw import MaskMaps, default_grid, draw_sampler, readable_hints
from maskmim.mask_tools.gallery.hints import KNOWN, compute_hint
from maskmim.mask_tools.gallery.scene import photograph_scene
from maskmim.mask_tools.gallery.table import (
    COLUMNS,
    markdown_table,
    measure_masks,
    row_name,
    table_cells,
)
from maskmim.masks.core import from_hidden
from maskmim.types import Context, Mask, Randomness


def chessboard(randomness: Randomness, context: Context, *, ratio: float) -> Mask:
    """Hide every other token; nothing is random."""
    rows, columns = context.grid
    hidden = (jnp.arange(rows)[:, None] + jnp.arange(columns)) % 2 == 1
    hidden = jnp.broadcast_to(hidden.reshape(-1), (randomness.slots.shape[0], rows * columns))
    return from_hidden(hidden, count=rows * columns // 2)


def both(randomness: Randomness, context: Context, *, ratio: float) -> tuple[Mask, ...]:
    """Return the chessboard, and one with its first token unweighted and its second seen."""
    one = chessboard(randomness, context, ratio=ratio)
    first = one.weight.at[:, 0].set(0.0)
    return one, one._replace(weight=first, visible=one.predict)


def sampler_of(function, views=False):
    return Sampler(f"known.{function.__name__}", function, (2,), (), views, ("ratio",))


def drawn_of(function, grid=(4, 6), views=False):
    return draw_sampler(sampler_of(function, views), grid, {}, ratio=0.5, seed=0, count=300)


def test_statistics_of_a_chessboard():
    drawn = drawn_of(chessboard)
    (view,) = drawn.views
    assert view.seen.shape == (512, 4, 6)  # Whole calls of 256 masks.
    measured = measure_masks(view)
    assert measured.hidden == (12, 12, 24)
    assert (measured.hidden_share, measured.predicted_share) == (0.5, 0.5)
    assert (measured.group, measured.distance) == (1.0, 1.0)
    assert (measured.coverage, measured.p_value) == ((0.0, 1.0), 0.0)
    assert (measured.overlap, measured.chance) == (1.0, 0.5)
    # All power is at half a cycle along both axes, one of the 11 or so high frequencies.
    assert measured.bands[0] == measured.bands[1] == 0 and measured.bands[2] > 1
    cells = table_cells(drawn, 0, measured)
    assert cells[:8] == (
        *("known.chessboard", "4 x 6", "50.0", "12 of 24", "50.0", "50.0", "1.00", "1.00"),
    )
    assert cells[8:11] == ("0.0-100.0", "<0.001", "100.0 (50.0)")


def test_views_and_weights():
    drawn = drawn_of(both, views=True)
    first, second = drawn.views
    assert [row_name(drawn, place) for place in range(2)] == [
        "known.both [1/2]",
        "known.both [2/2]",
    ]
    np.testing.assert_array_equal(first.hidden, second.hidden)
    assert first.predicted.sum() == second.predicted.sum() + 512
    # What is hidden is not seen, though it enters the encoder as a mask embedding.
    assert first.seen.sum() == 12 * 512 and second.seen.sum() == 0


def test_masks_that_show_nothing_have_no_groups():
    nothing, everything = np.zeros((40, 3, 3), bool), np.ones((40, 3, 3), bool)
    measured = measure_masks(MaskMaps(nothing, everything, everything))
    assert np.isnan([measured.group, measured.distance, measured.overlap]).all()
    measured = measure_masks(MaskMaps(everything, nothing, nothing))
    assert measured.group == 9 and np.isnan(measured.distance) and measured.overlap == 1


def test_statistics_of_uniform_masks_on_all_kinds_of_grids():
    one = next(each for each in samplers() if each.name == "uniform.random")
    for grid in ((40,), (5, 8), (2, 2, 10)):
        measured = measure_masks(
            draw_sampler(one, grid, {}, ratio=0.75, seed=1, count=512).views[0]
        )
        assert measured.hidden == (30, 30, 40) and measured.predicted_share == 0.75
        assert measured.overlap == pytest.approx(0.25, abs=0.01) and measured.chance == 0.25
        assert measured.p_value > 1e-3
        np.testing.assert_allclose(measured.bands, 1.0, atol=0.1)


def test_the_table_is_aligned():
    cells = table_cells(drawn := drawn_of(chessboard), 0, measure_masks(drawn.views[0]))
    lines = markdown_table([cells, ("a" * 40, *cells[1:])]).splitlines()
    assert len({len(line) for line in lines}) == 1 and len(lines) == 4
    assert [line.count("|") for line in lines] == [len(COLUMNS) + 1] * 4


def test_every_informed_sampler_has_its_hints_or_is_known_to_lack_them():
    missing = {hint for sampler in samplers() for hint in sampler.needs} - KNOWN
    assert not missing, f"gallery/hints.py lacks {sorted(missing)}"


def test_each_stream_is_a_view():
    name = "modalities.independent"
    one = next(each for each in samplers() if each.name == name)
    drawn = draw_sampler(one, (4, 4), {}, ratio=0.75, seed=0, count=256)
    assert drawn.labels == ("image", "depth", "labels") and len(drawn.views) == 3
    assert all(view.seen.shape == (256, 4, 4) for view in drawn.views)
    assert row_name(drawn, 1) == f"{name} [depth]"


def test_an_informed_sampler_follows_its_hint():
    one = next(each for each in samplers() if each.name == "attention.low")
    scene = photograph_scene((6, 6))
    hints = {"attention": compute_hint(scene, "attention")}
    (view,) = draw_sampler(one, (6, 6), hints, ratio=0.75, seed=0, count=256).views
    strongest = np.argsort(np.asarray(hints["attention"][0]))[-9:]
    np.testing.assert_array_equal(np.flatnonzero(view.seen[0]), np.sort(strongest))


def test_usual_grids_have_axes_that_the_sampler_serves():
    assert all(len(default_grid(sampler)) in sampler.axes for sampler in samplers())


def test_parts_of_combinators_read_hints_and_the_longest_prefix_wins(monkeypatch):
    low = next(each for each in samplers() if each.name == "attention.low")
    monkeypatch.setattr(
        examples, "KEYWORDS", {"known.": {"ratio": 0.1}, "known.low": {"ratio": 0.5}}
    )
    assert not readable_hints(low._replace(name="other.low")) - {"attention"}
    renamed = low._replace(name="known.low", needs=())
    assert readable_hints(renamed) == KNOWN
    hints = {"attention": compute_hint(photograph_scene((4, 4)), "attention")}
    drawn = draw_sampler(renamed, (4, 4), hints, ratio=0.75, seed=0, count=256)
    assert drawn.ratio == 0.5 and drawn.views[0].hidden.sum() == 256 * 8
