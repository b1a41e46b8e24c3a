"""Fixtures of the tests of configs."""

import textwrap

import pytest

from tests.config.examples import HEADER


@pytest.fixture
def write(tmp_path):
    """Writes a config file whose get_config does some more; returns its path."""

    def written(body: str = "") -> str:
        path = tmp_path / "method.py"
        text = textwrap.indent(textwrap.dedent(body), "    ")
        path.write_text(f"{HEADER.lstrip()}{text}\n    return config\n")
        return str(path)

    return written
