"""What pair objectives and their keys in a config refuse."""

from __future__ import annotations

import pytest

from maskmim.config.bricks import bind, brick
from maskmim.config.load import ConfigError, check_config, load, override
from maskmim.models.layers.errors import ModelError
from maskmim.objectives.classification import ObjectiveError
from maskmim.objectives.contrastive import info_nce
from tests.objectives.views import features, views_of


def test_refusals_name_the_thing_and_the_way_out():
    with pytest.raises(ObjectiveError, match="the sampler draws 1: use a sampler of at least two"):
        info_nce(project=None).find(views_of(features(1, 3)), ())
    hints = features(2, 3, width=4)
    with pytest.raises(ObjectiveError, match="6 values with 4 of the hint 'projection'"):
        info_nce(project=None, hint="projection").find(views_of(features(2, 3), hints=hints), ())
    with pytest.raises(ModelError, match=r"no function 'projector'.*config\.calls\.projector"):
        info_nce().find(views_of(features(2, 3)), ())


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("pairs.context.temperature=0", r"temperature: expected a number above 0"),
        ("pairs.context.temperature=nan", r"temperature: expected a number"),
        ("pairs.context.queue=-1", r"queue: expected a whole number of at least 0"),
        ("pairs.context.scale=-1", r"scale: expected a number of at least 0"),
        ("pairs.context.brick=maskmim.objectives.match", "PairObjective"),
        ("pairs.context.brick=maskmim.objectives.info_nc", "did you mean.*info_nce"),
        ("objectives.pixels.brick=maskmim.objectives.info_nce", "Objective"),
        ("mask.brick=maskmim.masks.uniform.random", "a sampler of views"),
        ("mask.brick=maskmim.masks.views.disjont", "did you mean.*disjoint"),
        ("predicts=(-1,)", "predicts: expected"),
        ("reads=(1,0)", "reads: expected"),
    ],
)
def test_a_config_with_a_wrong_value_is_refused(flag, sentence):
    config = load("lut:tiny", ["pairs.context.brick=maskmim.objectives.info_nce"])
    with pytest.raises(ConfigError, match=sentence):
        check_config(override(config, [flag]))


def test_a_brick_of_pairs_binds():
    made = bind(brick("maskmim.objectives.info_nce", queue=3))()
    assert "InfoNCE at temperature 0.1" in made.says and "queue of 3" in made.says
