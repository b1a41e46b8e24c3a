"""Parts of recipes, and the pattern that every config file follows."""

import ast

import pytest

from maskmim.config import ConfigError, base
from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.config.recipes import adamw_cosine, pick_option, vit_of_patch_16, vit_size
from maskmim.schedules.warmup import Span
from tests.running import ROOT

CONFIGS = sorted((ROOT / "configs").glob("**/*.py"))
WITH_EPOCHS = [path.stem for path in CONFIGS if 'choice["epochs"]' in path.read_text()]
PUBLISHED = [
    ("mae", 800, 40.0), ("mae", 300, 40.0), ("attmask", 100, 10.0), ("beit_v2", 1600, 10.0),
    ("cae", 300, 10.0), ("cae", 800, 20.0), ("cae", 1600, 40.0), ("colormae", 300, 40.0),
    ("convnext_v2", 800, 40.0), ("crossmae", 800, 40.0), ("hpm", 200, 40.0),
    ("maskfeat", 300, 30.0),
    ("simmim", 100, 10.0), ("vq_kd", 100, 10.0), ("audio_mae", 33, 3.0), ("quickstart", 30, 3.0),
    ("maskfeat_video", 300, 10.0),
]  # fmt: skip


def test_an_option_is_picked_by_name_or_the_options_are_listed():
    options = {"red": 1, "green": 2, "blue": 3}
    assert pick_option("mask", "green", options) == 2
    with pytest.raises(ConfigError, match=r"^mask=pink: use red, green or blue$"):
        pick_option("mask", "pink", options)


def test_the_name_of_a_vit_has_a_patch_size():
    assert vit_size("H/14") == vit_size("H") == {"variant": "H", "patch": (14, 14)}
    assert vit_size("S") == vit_size("S/16") == {"variant": "S", "patch": (16, 16)}
    assert vit_size("6x96x3") == {"variant": "6x96x3", "patch": (16, 16)}
    for wrong in ("H/", "/16", "H/x", "H/0", "H/16/2", ""):
        with pytest.raises(ConfigError, match=f"variant={wrong}: name the width and the patch"):
            vit_size(wrong)
    assert vit_of_patch_16("B") == vit_of_patch_16("B/16") == "B"
    with pytest.raises(ConfigError, match=r"variant=B/8: the patches have 16 pixels here"):
        vit_of_patch_16("B/8")


@pytest.mark.parametrize("name", WITH_EPOCHS)
@pytest.mark.parametrize("epochs", [0.5, 1.0, 3.0])
def test_a_short_training_has_a_shorter_warmup(name, epochs):
    """Also as the schedule itself sees it, which refuses a warm-up longer than the training."""
    config = load(f"{name}:epochs={epochs}")
    assert config.train.epochs == epochs and 0 < config.schedule.warmup_epochs <= epochs / 5
    span = Span(round(epochs * 100), 100)
    assert float(bind(config.schedule)(span)(round(config.schedule.warmup_epochs * 100))) > 0.99


@pytest.mark.parametrize("name, epochs, warmup", PUBLISHED)
def test_published_warmups_stay(name, epochs, warmup):
    assert load(f"{name}:epochs={epochs}").schedule.warmup_epochs == warmup


@pytest.mark.parametrize("name", ["mae", "capi", "vqgan", "maskgit", "simmim"])
def test_shards_of_imagenet_by_one_word(name):
    config = load(f"{name}:shards=/data/shards")
    found = [source.to_dict() for source in (config.data.train, config.evals.train)]
    shards = {"brick": "maskmim.data.array_record.shards", "path": "/data/shards"}
    assert found == [shards | {"tag": "train"}] * 2
    assert config.evals.test.to_dict() == shards | {"tag": "val"}
    assert load(name).data.train.brick == "maskmim.data.tfds_source.tfds"


@pytest.mark.parametrize("size", ["", "small,", "tiny,"])
def test_a_tokenizer_that_is_named_is_read_at_every_size(size):
    assert load(f"maskgit:{size}tokenizer=runs/it").tokenizer.workdir == "runs/it"


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
    # Those below downstream/ have recipes by the size of the network, not one that is published.
    if "tiny=False" in path.read_text() and path.parent.name != "downstream":
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert {"get_config", "published", "tiny"} <= functions
