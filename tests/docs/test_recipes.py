"""The pages of the methods: fresh, one for each, and with what their config says."""

import shutil

import pytest

from docs import make_recipes
from docs.make_systems import read_methods
from tests.running import ROOT

FOLDER = ROOT / "docs/recipes"


def test_there_is_a_page_for_each_method_and_no_other():
    names = {f"{method['name']}.md" for method in read_methods(ROOT)}
    assert {path.name for path in FOLDER.glob("*.md")} == names | {"index.md"}
    index = (FOLDER / "index.md").read_text()
    assert all(f"]({name})" in index for name in names)


def test_a_docstring_becomes_markdown():
    blocks = [
        "After the colon: variant=B | L;\nepochs=N (docs/data.md).",
        "Uses <tags> and --config.mask.ratio=0.6.",
        "Published results to expect (ours):\n  B 1;\n  L 2, and\n  more.",
    ]
    parts = make_recipes.said(blocks)
    assert parts[0] == "## What stands after the colon"
    assert parts[1] == "variant=B | L;\nepochs=N ([docs/data.md](../data.md))."
    assert parts[2] == "## The recipe"
    assert parts[3] == "Uses \\<tags> and `--config.mask.ratio=0.6`."
    assert parts[5] == "Published results to expect (ours):\n\n- B 1;\n- L 2, and\n  more."


def test_keys_are_those_that_make_the_method():
    text = make_recipes.keys("colormae")
    assert "mask.brick" in text and "maskmim.masks.colour.green" in text
    assert "log." not in text and "data.workers" not in text and "[result]" not in text


@pytest.mark.full
def test_pages_are_fresh_and_the_check_sees_when_one_is_not(monkeypatch, tmp_path, capsys):
    assert make_recipes.main(["--check"]) == 0, capsys.readouterr().err
    written = make_recipes.pages(ROOT)
    monkeypatch.setattr(make_recipes, "pages", lambda root: written)
    shutil.copytree(FOLDER, tmp_path / "docs/recipes")
    (tmp_path / "docs/recipes/mae.md").write_text("old")
    (tmp_path / "docs/recipes/left_over.md").write_text("old")
    assert make_recipes.main(["--check"], tmp_path) == 1
    assert "left_over.md, mae.md" in capsys.readouterr().err
    assert make_recipes.main([], tmp_path) == 0
    assert make_recipes.main(["--check"], tmp_path) == 0
