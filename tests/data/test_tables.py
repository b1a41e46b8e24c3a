"""Tables: reading, scaling, removal of cells, and rows on their way into a batch."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit

from maskmim.data.missing_cells import removed_cells, standard_scores
from maskmim.data.records import BadImage, DataError
from maskmim.data.tables import TableRecords, complete, csv, factors, filled, row

RNG = np.random.default_rng(0)
TEXT = "a;b;kind\n 1 ;2.5;x\n?;;y\n3;-1e2;x\n\n"


def table_of(tmp_path, text, **keywords):
    file = tmp_path / "table.csv"
    file.write_text(text)
    return csv(path=str(file), **keywords)


def test_a_file_is_read_with_its_gaps_and_classes(tmp_path):
    records = table_of(tmp_path, TEXT, label="kind")
    assert records.columns == ("a", "b") and records.labels == {"kind": ("x", "y")}
    np.testing.assert_array_equal(records.observed, [[1, 2.5], [np.nan, np.nan], [3, -100]])
    assert [records[n].labels["kind"] for n in range(3)] == [0, 1, 0]
    np.testing.assert_allclose(records[0].encoded[:, 0], [0, 1])
    np.testing.assert_allclose(records[2].encoded[:, 0], [1, 0])
    assert np.isnan(records[1].encoded).all() and np.isnan(records.truth).all()


@pytest.mark.parametrize(
    ("text", "keywords", "words"),
    [
        ("a,b\n1,x\n", {}, "row 2, column 'b': 'x' is no number"),
        ("a,b\n1,inf\n", {}, "'inf' is no number"),
        ("a,b\n1\n", {}, "row 2: 1 values, but 2 column names"),
        ("a,a\n1,2\n", {}, "two columns have one name"),
        ("a,b\n", {}, "no rows"),
        ("", {}, "is empty"),
        ("a,b\n1,2\n", {"label": "c"}, "no column 'c', but a, b"),
        ("a,b\n1,2\n2,\n", {"label": "b"}, "row 3: the class 'b' is missing"),
        ("a,b\n1,\n2,?\n", {}, "nothing is observed of the column 'b'"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, text, keywords, words):
    with pytest.raises(DataError, match=words):
        table_of(tmp_path, text, **keywords)
    with pytest.raises(DataError, match="cannot be read as a table"):
        csv(path=str(tmp_path / "none.csv"))


def test_a_complete_row_is_left_as_it_is_and_others_are_refused():
    row = np.arange(3, dtype="f4")[:, None]
    np.testing.assert_array_equal(complete(RNG, row, (3,)), row)
    with pytest.raises(DataError, match=r"set input\.size to 3"):
        complete(RNG, row, (4,))
    row[1] = np.nan
    with pytest.raises(DataError, match="the columns 1, counted from 0, are missing"):
        complete(RNG, row, (3,))


def test_an_unnamed_column_is_a_column(tmp_path):
    assert table_of(tmp_path, ",b\n0,1\n1,5\n").columns == ("", "b")


def test_removed_cells_are_known_and_have_no_part_in_the_scale():
    cells = np.array([[0.0, 1.0], [10.0, 2.0], [4.0, np.nan], [5.0, 9.0]])
    gone = np.array([[0, 0], [1, 0], [0, 1], [0, 0]], bool)
    records = TableRecords(cells, ("a", "b"), removed=gone, title="t")
    np.testing.assert_array_equal(records.missing, [[0, 0], [1, 0], [0, 1], [0, 0]])
    assert (records.low.tolist(), records.high.tolist()) == ([0, 1], [5, 9])
    assert np.isnan(records.truth).sum() == 7 and records.truth[1, 0] == pytest.approx(2.0)
    np.testing.assert_allclose(records.in_units(records.scaled(cells)), cells, rtol=1e-6)
    again = pickle.loads(pickle.dumps(records))
    np.testing.assert_array_equal(again[3].encoded, records[3].encoded)
    other = TableRecords(cells, ("a", "b"), title="t")
    assert records.fingerprint == again.fingerprint != other.fingerprint


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_the_share_of_removed_cells_and_what_it_depends_on(mechanism):
    rng = np.random.default_rng(1)
    cells = rng.standard_normal((4000, 10)) @ rng.standard_normal((10, 10)) + 3
    gone = removed_cells(np.random.default_rng(2), cells, share=0.3, mechanism=mechanism)
    shares = gone.mean(axis=0)
    loses = shares > 0
    assert loses.sum() == (7 if mechanism == "mar" else 10)
    np.testing.assert_allclose(shares[loses], 0.3, atol=5 * (0.21 / 4000) ** 0.5)
    scores = standard_scores(cells)
    own = np.array(
        [abs(np.corrcoef(scores[:, n], gone[:, n])[0, 1]) for n in np.flatnonzero(loses)]
    )
    if mechanism == "mnar":
        # Of a logistic chance of deviation 1 and share 0.3, by quadrature.
        grid = np.linspace(-8, 8, 4001)
        density = np.exp(-(grid**2) / 2)
        shift = brentq(lambda c: np.average(expit(grid + c), weights=density) - 0.3, -5, 5)
        chance = expit(grid + shift)
        expected = np.average(chance * grid, weights=density) / np.sqrt(0.21)
        np.testing.assert_allclose(own, expected, atol=5 / 4000**0.5)
    if mechanism == "mcar":
        assert own.max() < 5 / 4000**0.5
    if mechanism == "mar":
        complete = scores[:, ~loses]
        for column in np.flatnonzero(loses):
            fitted = np.linalg.lstsq(complete, gone[:, column] - 0.3, rcond=None)[0]
            assert np.corrcoef(complete @ fitted, gone[:, column])[0, 1] > 0.3


def test_none_is_removed_of_nothing_and_draws_repeat():
    cells = RNG.standard_normal((50, 4))
    for mechanism in ("mcar", "mar", "mnar"):
        draw = [
            removed_cells(np.random.default_rng(5), cells, share=share, mechanism=mechanism)
            for share in (0.0, 0.4, 0.4)
        ]
        assert not draw[0].any() and draw[1].any()
        np.testing.assert_array_equal(draw[1], draw[2])


def test_synthetic_tables_repeat_and_can_be_predicted():
    first, again, other = (factors(count=400, seed=seed) for seed in (3, 3, 4))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    cells = np.where(first.missing, first.truth, np.stack([each.encoded[:, 0] for each in first]))
    np.testing.assert_array_equal(np.isnan(first.truth), ~first.missing)
    rest = np.concatenate([cells[:, 1:], np.ones((400, 1))], axis=1)
    fitted = np.linalg.lstsq(rest, cells[:, 0], rcond=None)[0]
    assert np.std(cells[:, 0] - rest @ fitted) < 0.8 * np.std(cells[:, 0])


def test_a_row_becomes_cells_and_gaps():
    stored = np.array([[0.5], [np.nan], [0.0]], np.float32)
    size = {"table": (3,), "missing": (3,)}
    made = filled(RNG, {"table": row(RNG, stored)}, size)
    np.testing.assert_array_equal(made["table"], np.float32([[0.5], [0], [0]]))
    assert made["table"].dtype == np.float32 and made["missing"].tolist() == [False, True, False]
    with pytest.raises(DataError, match=r"input\.fields\.missing\.shape"):
        filled(RNG, {"table": stored}, {"table": (3,)})
    with pytest.raises(DataError, match=r"the table has 3 columns, input\.size is 4"):
        filled(RNG, {"table": stored}, {"table": (4,), "missing": (4,)})
    with pytest.raises(BadImage, match="a row of a table is expected"):
        row(RNG, np.zeros((3, 1), np.uint8))
