"""What docs/site makes of pages, docstrings and signatures for Sphinx."""

import inspect
import sys
from typing import NamedTuple

import pytest

from maskmim.config.ranges import OpenFraction
from maskmim.types import Array, Mask, Randomness
from tests.running import ROOT

pytest.importorskip("sphinx", reason="needs the extra docs")


@pytest.fixture
def site(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs/site")
    import docstrings
    import markdown_source
    import rooms
    import signatures

    yield docstrings, markdown_source, rooms, signatures
    for name in ("docstrings", "markdown_source", "rooms", "signatures"):
        sys.modules.pop(name)


def test_pages_for_github_become_pages_of_the_site(site):
    _, markdown_source, *_ = site
    text = (
        '### <a id="row-3"></a>3 MAE\n\n[mae](../configs/mae.py), [base](../maskmim/a.py),\n'
        "[jobs](../launch/README.md), [tests](../../CONTRIBUTING.md#tests)\n\n"
        "```\npip install .\n```\n\n```\n2 of 3\n```\n"
    )
    assert markdown_source.for_sphinx(text) == (
        "(row-3)=\n### 3 MAE\n\n[mae](recipes/mae.md), [base](../maskmim/a.py),\n"
        "[jobs](launchers.md), [tests](../contributing.md)\n\n"
        "```bash\npip install .\n```\n\n```\n2 of 3\n```\n"
    )


def test_docstrings_become_restructured_text(site):
    docstrings, *_ = site
    lines = inspect.cleandoc("""Return x*y of `a` and b_ in |c|.

        size:    (rows, columns); the
                 rest follows.
        a, b:    numbers.
        Raises MaskError: never.

          python -m maskmim.train
        """).splitlines()
    assert docstrings.as_rst(lines) == [
        r"Return x*y of ``a`` and b\_ in \|c\|.",
        "",
        "",
        ":size: (rows, columns); the",
        "    rest follows.",
        ":a, b: numbers.",
        "",
        "Raises MaskError: never.",
        "",
        "",
        "::",
        "",
        "      python -m maskmim.train",
        "",
    ]


class Pair(NamedTuple):
    """Two arrays."""

    one: "Array"
    two: "Array | None" = None


def sampler(randomness: "Randomness", *, ratio: "OpenFraction" = 0.5) -> "Mask":
    """Return a mask."""


def test_signatures_keep_the_names_of_the_source(site):
    *_, signatures = site
    arguments, result = signatures.signature_of(sampler)
    path = "~maskmim.types.randomness.Randomness"
    assert arguments == f"(randomness: {path}, *, ratio: ~alias.OpenFraction = 0.5)"
    assert result == "~maskmim.types.masks.Mask"
    arguments, result = signatures.signature_of(Pair)
    assert arguments == "(one: ~alias.Array, two: ~alias.Array | None = None)" and result is None


def test_a_room_has_its_modules(site):
    *_, rooms, _ = site
    modules = rooms.modules_of("maskmim.masks")
    assert "maskmim.masks.colour" in modules and "maskmim.masks" not in modules
    assert rooms.modules_of("maskmim.errors") == ["maskmim.errors"]
