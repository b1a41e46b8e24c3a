"""Stored configs of earlier versions, brought to this one."""

from ml_collections import ConfigDict

from maskmim.config import base, from_json, to_json
from maskmim.config.upgrade import upgrade
from tests.golden.checkpoints.record import HERE as GOLDEN


def test_a_config_of_this_version_stays_as_it_is():
    stored = to_json(base())
    assert to_json(upgrade(from_json(stored))) == stored


def test_a_config_of_the_first_version_has_todays_paths_and_keys():
    text = (GOLDEN / "v0.1.0" / "config.json").read_text()
    assert "maskmim.method.masked" in text and '"dtype": "float32"' in text
    config = upgrade(from_json(text))
    assert config.method == "maskmim.methods.masked.masked"
    assert config.mesh.rules == "maskmim.training.sharding.transformer"
    assert config.objectives.pixels.loss.brick == "maskmim.losses.squared_error"
    assert config.model.compute.dtype == "float32" and "dtype" not in config.model
    assert to_json(upgrade(from_json(to_json(config)))) == to_json(config)


def test_keys_of_later_versions_get_their_defaults():
    old = ConfigDict(base().to_dict())
    del old["process"], old["train"]["max_bad_steps"]
    config = upgrade(old)
    assert config.process == base().process and config.train.max_bad_steps == 3


def test_measures_of_later_versions_can_be_asked_for():
    old = ConfigDict(base().to_dict())
    del old["evals"]["measures"]["segmentation_linear"]
    old.evals.measures.lidar.images = 7
    config = upgrade(old)
    assert set(config.evals.measures) == set(base().evals.measures)
    assert config.evals.measures.lidar.images == 7
    assert "segmentation_linear" not in [*config.evals.at_end, *config.evals.monitors]


def test_probes_and_measures_of_later_versions_have_names():
    old = ConfigDict(base().to_dict())
    del old["evals"]["probes"]["few_shot"], old["evals"]["measures"]["cka"]
    own = old["evals"]["probes"]["layers"] = old["evals"]["measures"]["layers"]
    del old["evals"]["measures"]["layers"]
    evals = upgrade(old).evals
    assert evals.probes.few_shot == base().evals.probes.few_shot and "cka" in evals.measures
    assert evals.probes.layers == own and "layers" not in evals.measures
    assert evals.at_end == base().evals.at_end


def test_paths_inside_tuples_are_replaced_too():
    old = ConfigDict(base().to_dict())
    old.rules = ("maskmim.sharding.transformer", 3)
    assert upgrade(old).rules == ("maskmim.training.sharding.transformer", 3)


def test_a_brick_gets_the_keywords_that_it_did_not_have():
    old = ConfigDict(base().to_dict())
    del old["data"]["decode"]["value_range"], old["mask"]["ratio"], old["model"]["compute"]
    config = upgrade(old)
    assert config.data == base().data and config.model == base().model
    assert "ratio" not in config.mask  # required: no value is made up
