import math

import pytest

from maskmim.data.extras import import_extra
from maskmim.data.records import DataError


def test_what_is_installed_is_imported():
    assert import_extra("math", name="video", what="numbers") is math


def test_what_is_missing_says_how_to_install_it():
    with pytest.raises(
        DataError, match=r"reading videos needs no_such.*pip install no_such.*\[video\]"
    ):
        import_extra("no_such", name="video", what="videos")
