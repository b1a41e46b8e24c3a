"""The gallery's command: its list, its errors, what it writes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from maskmim import gallery
from maskmim.errors import DONE, USAGE
from maskmim.mask_tools.discovery import samplers
from maskmim.mask_tools.gallery import page as gallery_page
from maskmim.mask_tools.gallery.sheet import DPI, WIDTH
from maskmim.runtime.exits import run


@pytest.fixture
def few_masks(monkeypatch):
    monkeypatch.setattr(gallery_page, "MASKS", 256)


def test_the_list_has_a_line_for_every_sampler(capsys):
    assert run(gallery.main, ["--list"]) == DONE
    lines = capsys.readouterr().out.splitlines()
    named = {line.split()[0]: line for line in lines[1:] if line and "." in line.split()[0]}
    assert list(named) == [sampler.name for sampler in samplers()]
    for sampler in samplers():
        line = named[sampler.name]
        assert " ".join(map(str, sampler.axes)) in line
        assert all(hint in line for hint in sampler.needs)
        assert line.endswith(sampler.summary.split(". ")[0])


def test_the_list_is_aligned_and_cut_to_the_terminal():
    lines = gallery.list_text(samplers(), 100).splitlines()
    assert max(map(len, lines)) <= 100
    start = lines[0].index("what it does")
    assert all(line[start - 1] == " " and line[start] != " " for line in lines[1:-2])


def test_the_list_can_be_narrowed(capsys):
    assert run(gallery.main, ["--list", "--only", "colour.", "--grid", "8x4x4"]) == DONE
    names = [line.split(".")[0] for line in capsys.readouterr().out.splitlines()[1:-2]]
    assert set(names) == {"colour"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "nothing"], "no sampler.s name starts with it; modules: .*colour"),
        (["--grid", "14xa"], "--grid 14xa: give one to three numbers of tokens"),
        (["--grid", "2x2x2x2"], "one to three numbers"),
        (["--grid", "0x4"], "one to three numbers"),
        (["--grid", "12", "--only", "bank."], r"bank.\* serve grids with 2 axes, not with 1"),
        (["--ratio", "1.2"], "between 0 and 1"),
        (["--out", __file__], "is not a folder"),
    ],
)
def test_options_that_do_not_fit_are_an_error_of_one_line(arguments, says, capsys):
    assert run(gallery.main, arguments) == USAGE
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    assert re.search(says, message)


def test_a_module_is_drawn_and_measured(tmp_path, few_masks, capsys):
    out = tmp_path / "new" / "folder"
    options = ["--only", "bank.", "--grid", "6x9", "--ratio", "0.5", "--out", str(out)]
    assert run(gallery.main, options) == DONE
    assert sorted(file.name for file in out.iterdir()) == ["bank.png", "gallery.md"]
    with Image.open(out / "bank.png") as picture:
        picture.load()
        assert picture.format == "PNG" and picture.width == round(WIDTH * DPI)
        assert np.asarray(picture).std() > 10
    output = capsys.readouterr()
    (row,) = [line for line in output.out.splitlines() if line.startswith("| bank.cropped")]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[:6] == ["bank.cropped", "6 x 9", "50.0", "27 of 54", "50.0", "50.0"]
    page = (out / "gallery.md").read_text(encoding="utf-8")
    assert output.out.strip() in page and "![bank](bank.png)" in page
    assert "bank.png: 1 row," in output.err


def test_samplers_that_cannot_be_drawn_are_listed_with_the_reason(
    tmp_path, few_masks, capsys, monkeypatch
):
    one = next(each for each in samplers() if each.name == "uniform.random")
    unknown = one._replace(name="odd.informed", needs=("attention", "tea_leaves"))
    part = one._replace(name="odd.part", takes=("ratio", "sampler"))
    monkeypatch.setattr(gallery, "samplers", lambda: (unknown, part))
    assert run(gallery.main, ["--out", str(tmp_path)]) == DONE
    output = capsys.readouterr().out
    assert "- odd.informed: needs hint tea_leaves" in output
    assert "- odd.part: takes sampler: no example in gallery/examples.py" in output
    assert "tea_leaves" in (tmp_path / "gallery.md").read_text(encoding="utf-8")
    assert (tmp_path / "odd.png").is_file()


def test_a_grid_that_a_sampler_refuses_is_a_note(tmp_path, few_masks, capsys):
    options = ["--only", "uniform.random", "--grid", "1", "--out", str(tmp_path)]
    assert run(gallery.main, options) == DONE
    assert "- uniform.random: not on 1 tokens: mask ratio 0.75" in capsys.readouterr().out


STRIPES = """
import jax
import jax.numpy as jnp

from maskmim.masks.core import from_scores


def stripes(randomness, context, *, ratio):
    \"""Hide rows.\"""
    rows, columns = context.grid
    draw = jax.vmap(lambda key: jax.random.uniform(key, (rows, 1)))(randomness.each("mask"))
    scores = jnp.broadcast_to(draw, (draw.shape[0], rows, columns))
    return from_scores(scores.reshape(draw.shape[0], -1), ratio=ratio)


def other(x):
    \"""No sampler.\"""
"""


@pytest.fixture
def my_package(tmp_path, monkeypatch):
    (tmp_path / "my_stripes.py").write_text(STRIPES, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_sampler_of_another_package_is_drawn(my_package, few_masks, tmp_path, capsys):
    """It needs no annotation, which discovery by module would ask for."""
    arguments = ["--only", "my_stripes.stripes", "--grid", "4x6", "--ratio", "0.5"]
    assert run(gallery.main, [*arguments, "--out", str(tmp_path / "out")]) == DONE
    assert "| my_stripes.stripes | 4 x 6 |" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"my_stripes.png", "gallery.md"}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("my_stripes.stripe", "did you mean my_stripes.stripes"),
        ("my_stripes.other", "my_stripes.other is no sampler: .*randomness, context"),
        ("no_such_package.stripes", "no module 'no_such_package'.*PYTHONPATH"),
        ("colour.gren", "no sampler's name starts with it"),
    ],
)
def test_a_path_that_names_no_sampler_says_why(path, says, my_package, capsys):
    assert run(gallery.main, ["--only", path]) == USAGE
    assert re.search(says, capsys.readouterr().err)
