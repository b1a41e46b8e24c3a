"""Changes of parameters, shapes, shardings or weight decay show in text files."""

import pytest

from tests.golden.parameters.record import CONFIGS, FOLDER, describe


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_as_recorded(name):
    recorded = (FOLDER / f"{name}.txt").read_text()
    assert describe(CONFIGS[name]) == recorded, "if meant: python -m tests.golden.parameters.record"
