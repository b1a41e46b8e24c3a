"""Which settings may change when a run continues, and configs of earlier versions."""

import json

import pytest

from maskmim.checkpoints import workdir as module
from maskmim.checkpoints.workdir import (
    RULES,
    check_changes,
    continuation_table,
    find_rule,
    load_config,
    save_config,
)
from maskmim.config.defaults import base
from maskmim.config.load import load, override
from maskmim.config.parse import ConfigError

# A change of a key under each rule; the last ones are under no rule.
FREE = (
    "train.epochs=9",
    "train.epochs=0.1",
    "train.micro_batches=2",
    "train.max_bad_steps=9",
    "mesh.fsdp=2",
    "mesh.data=1",
    "checkpoint.keep_latest=5",
    "checkpoint.every_epochs=0.5",
    "log.every_steps=7",
    "process.stuck_after_seconds=60",
    "evals.batch_size=8",
    "evals.probes.knn.k=5",
    "data.workers=2",
    "data.threads=2",
    "data.max_bad_share=0.5",
)
FIXED = (
    "train.batch_size=32",
    "data.train.split=test",
    "data.augment.brick=maskmim.data.transforms.resize_center_crop",
    "seed=1",
    "input.size=64,64",
    "model.decoder_depth=2",
    "optim.lr=1",
    "optim.lr_per=512",
    "schedule.warmup_epochs=1",
    "mask.ratio=0.5",
    "objectives.pixels.loss.brick=maskmim.losses.absolute_error",
    "method=maskmim.methods.vq_kd.vq_kd",
)


@pytest.fixture(scope="module")
def config():
    return load("configs/colormae.py:tiny")


@pytest.mark.parametrize("change", FREE)
def test_what_changes_no_result_may_change_and_is_said(config, change, tmp_path, capsys):
    save_config(tmp_path, config, has_checkpoint=True)
    changed = override(config, [change])
    save_config(tmp_path, changed, has_checkpoint=True)
    assert load_config(tmp_path) == changed
    key = change.partition("=")[0]
    assert f"changed for the rest of the run: {key}: " in capsys.readouterr().out


@pytest.mark.parametrize("change", FIXED)
def test_what_changes_results_may_not(config, change, tmp_path):
    save_config(tmp_path, config, has_checkpoint=False)
    key = change.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"(?s){key}: .* -> .*another --workdir") as error:
        save_config(tmp_path, override(config, [change]), has_checkpoint=True)
    assert find_rule(key).why in str(error.value)
    assert load_config(tmp_path) == config


def test_every_rule_was_tried_and_is_in_the_table():
    tried = {find_rule(change.partition("=")[0]) for change in (*FREE, *FIXED)}
    assert tried == {*RULES, module.REST}
    assert {find_rule(change.partition("=")[0]).free for change in FREE} == {True}
    assert len(continuation_table().splitlines()) == 2 + len(RULES) + 1


def test_without_a_checkpoint_nothing_is_lost_by_another_config(config, tmp_path, capsys):
    save_config(tmp_path, config, has_checkpoint=False)
    other = override(config, ["seed=1"])
    save_config(tmp_path, other, has_checkpoint=False)
    assert load_config(tmp_path) == other
    assert not capsys.readouterr().out


def test_a_free_name_frees_no_longer_one(config):
    other = override(config, [])
    with other.unlocked():
        other.logits = 1
    with pytest.raises(ConfigError, match="logits"):
        check_changes(config, other, "runs/it")


def test_a_config_of_a_version_with_fewer_keys_continues(config, tmp_path):
    save_config(tmp_path, config, has_checkpoint=False)
    path = tmp_path / "config.json"
    stored = json.loads(path.read_text())
    del stored["train"]["max_bad_steps"], stored["process"]
    path.write_text(json.dumps(stored))
    upgraded = load_config(tmp_path)
    assert upgraded.train.max_bad_steps == base().train.max_bad_steps
    assert upgraded == config and upgraded.is_locked
    save_config(tmp_path, config, has_checkpoint=True)


def test_a_missing_section_of_another_kind_is_a_difference(config, tmp_path):
    save_config(tmp_path, config, has_checkpoint=False)
    path = tmp_path / "config.json"
    stored = json.loads(path.read_text())
    del stored["mask"]["ratio"]
    path.write_text(json.dumps(stored))
    with pytest.raises(ConfigError, match=r"mask\.ratio: \(absent\) -> 0\.75"):
        save_config(tmp_path, config, has_checkpoint=True)
