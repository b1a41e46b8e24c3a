import math

import pytest

from maskmim.data.extras import extra
from maskmim.data.records import DataError


def test_what_is_installed_is_imported():
    assert extra("math", name="video", what="numbers") is math


def test_what_is_missing_says_how_to_install_it():
    with pytest.raises(
        DataError, match=r"videos are read by no_such.*pip install no_such.*\[video\]"
    ):
        extra("no_such", name="video", what="videos")
