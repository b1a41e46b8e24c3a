"""Parts of recipes, and the pattern that every config file follows."""

import ast

import pytest

from maskmim.config import ConfigError, base
from maskmim.config.recipes import adamw_cosine, pick_option, vit_size
from tests.running import ROOT

CONFIGS = sorted((ROOT / "configs").glob("**/*.py"))


def test_an_option_is_picked_by_name_or_the_options_are_listed():
    options = {"red": 1, "green": 2, "blue": 3}
    assert pick_option("mask", "green", options) == 2
    with pytest.raises(ConfigError, match=r"^mask=pink: use red, green or blue$"):
        pick_option("mask", "pink", options)


def test_the_name_of_a_vit_has_a_patch_size():
    assert vit_size("H/14") == {"variant": "H", "patch": (14, 14)}
    with pytest.raises(ConfigError, match="variant=H: name the width and the patch size"):
        vit_size("H")


def test_keywords_of_adamw_pass_through():
    config = base()
    adamw_cosine(config, lr=1e-3, clip_norm=3.0, warmup_epochs=10.0, final=0.1)
    assert (config.optim.lr_per, config.optim.b2, config.optim.clip_norm) == (0, 0.999, 3.0)
    assert (config.schedule.warmup_epochs, config.schedule.final) == (10.0, 0.1)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_files_name_functions_and_keep_recipes_apart(path):
    tree = ast.parse(path.read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in calls:
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        assert name != "unlocked", "use add() for new sections"
        if name == "brick":
            named_by_path = isinstance(call.args[0], ast.Constant | ast.JoinedStr)
            assert not named_by_path, "name bricks by function"
    if "tiny=False" in path.read_text():
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert {"get_config", "published", "tiny"} <= functions
