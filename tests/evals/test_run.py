"""What evaluation refuses before it reads any example."""

from types import SimpleNamespace

import pytest

from maskmim.data.records import DataError
from maskmim.evals.run import check_classes


def records(**labels):
    return SimpleNamespace(labels=labels)


def test_equal_classes_are_compared():
    check_classes(records(kind=("a", "b")), records(kind=("a", "b")))
    check_classes(records(), records())


@pytest.mark.parametrize(
    "test",
    [{"kind": ("b", "a")}, {"kind": ("a", "b", "c")}, {}, {"kind": ("a", "b"), "more": ("x",)}],
)
def test_classes_that_mean_something_else_are_refused(test):
    with pytest.raises(DataError, match=r"have other classes for the labels (kind|more)"):
        check_classes(records(kind=("a", "b")), records(**test))
