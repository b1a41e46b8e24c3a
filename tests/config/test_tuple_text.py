"""Tuples of texts on the command line: patterns with commas, brackets and quotes."""

from __future__ import annotations

import pytest

from maskmim.config.load import load
from maskmim.config.parse import parse
from maskmim.config.tuple_text import elements_of

TUPLE = frozenset({tuple})


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("a,b", ["a", "b"]),
        ("(a, b)", ["a", "b"]),
        ("[a,b,]", ["a", "b"]),
        ("(^|/)bias$", ["(^|/)bias$"]),
        ("(^|/)(bias|scale)$, norm", ["(^|/)(bias|scale)$", "norm"]),
        ("[ab]ias", ["[ab]ias"]),
        ("[ab]", ["[ab]"]),
        ("(a,b)|(c,d)", ["(a,b)|(c,d)"]),
        ("x{1,2}", ["x{1,2}"]),
        (r"a\,b", [r"a\,b"]),
        (r"\(bias,c", [r"\(bias", "c"]),
        ("[(]a,b", ["[(]a", "b"]),
        ("'a,b',c", ["'a,b'", "c"]),
        ("don't,c", ["don't", "c"]),
        ("", []),
    ],
)
def test_only_commas_outside_of_brackets_and_quotes_split(text, elements):
    assert elements_of(text) == elements


@pytest.mark.parametrize(
    ("text", "sign"), [("(", "("), ("[1, 2", "["), ("1,2)", ")"), ("a]", "]"), ("'a,b", "'")]
)
def test_half_a_pair_is_named(text, sign):
    with pytest.raises(ValueError, match=r"never (closed|opened)") as caught:
        parse(text, TUPLE, (1, 2))
    assert str(caught.value).startswith(f"{sign} is never")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("('(^|/)bias$',)", ("(^|/)bias$",)),
        ("(^|/)bias$", ("(^|/)bias$",)),
        ("1e5,007", ("1e5", "007")),
        ("'None'", ("None",)),
        ("'a,b',True", ("a,b", "True")),
    ],
)
def test_texts_are_read_as_they_are_written(text, value):
    assert parse(text, TUPLE, ("bias",)) == value


@pytest.mark.parametrize("text", ["None", "a,None", "('a', None)"])
def test_none_is_no_text(text):
    with pytest.raises(ValueError, match="expected text, got None"):
        parse(text, TUPLE, ("bias",))


def test_a_pattern_in_the_form_that_print_config_shows_is_read():
    config = load("mae:tiny", ["optim.no_decay=(^|/)bias$"])
    assert config.optim.no_decay == ("(^|/)bias$",)
