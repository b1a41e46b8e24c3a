"""The list of skipped steps with their records, and the limit on them."""

import json

import pytest

from maskmim import errors
from maskmim.reporting.bad_steps import BadSteps, Diverged
from tests.faults.odd_data import Numbers


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_records_of_skipped_steps_are_listed_by_number_and_name(tmp_path):
    bad = BadSteps(Numbers(), tmp_path, most=3)
    assert bad.see(1, {"bad_steps": 0.0, "spike": 0.0}, [1, 2]) == ""
    assert not bad.path.exists()
    assert "step 2: loss or gradient not finite" in bad.see(2, {"bad_steps": 1.0}, [5, 7])
    told = bad.see(3, {"bad_steps": 0.0, "spike": 1.0}, [9])
    assert "step 3: loss or gradient far above" in told and "bad_steps.jsonl" in told
    assert rows(bad.path) == [
        {
            "step": 2,
            "why": "loss or gradient not finite",
            "records": [5, 7],
            "names": ["picture 5", "picture 7"],
        },
        {
            "step": 3,
            "why": "loss or gradient far above their medians",
            "records": [9],
            "names": ["picture 9"],
        },
    ]


def test_too_many_in_a_row_end_the_run_and_are_listed(tmp_path):
    bad = BadSteps(Numbers(), tmp_path, most=2, process=3)
    bad.see(7, {"bad_steps": 1.0}, [1])
    with pytest.raises(Diverged, match=r"2 steps in a row, up to step 8.*bad_steps-3\.jsonl"):
        bad.see(8, {"bad_steps": 2.0}, [2])
    assert Diverged.exit_code == errors.DIVERGED
    assert [row["step"] for row in rows(tmp_path / "bad_steps-3.jsonl")] == [7, 8]


def test_a_list_that_cannot_be_written_is_only_warned_of(tmp_path, caplog):
    bad = BadSteps(Numbers(), tmp_path / "gone", most=3)
    assert "update skipped" in bad.see(1, {"bad_steps": 1.0}, [1])
    assert "cannot be written" in caplog.text
