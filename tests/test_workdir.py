"""What may change when a run is continued."""

import pytest

from maskmim.configuration import ConfigError, load, override
from maskmim.workdir import FREE, check_continues, load_config, save_config


@pytest.fixture
def config():
    return load("configs/colormae.py:tiny")


@pytest.mark.parametrize(
    "change",
    ["train.epochs=9", "mesh.fsdp=2", "log.every_steps=7", "data.workers=2", "evals.batch_size=8"],
)
def test_free_sections_may_change(config, change, tmp_path):
    save_config(tmp_path, config, begun=True)
    changed = override(config, [change])
    save_config(tmp_path, changed, begun=True)
    assert load_config(tmp_path) == changed


@pytest.mark.parametrize(
    "change", ["seed=1", "mask.ratio=0.5", "train.batch_size=32", "optim.lr=1", "input.size=64,64"]
)
def test_what_changes_results_may_not(config, change, tmp_path):
    save_config(tmp_path, config, begun=False)
    key = change.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"(?s){key}: .* -> .*another --workdir"):
        save_config(tmp_path, override(config, [change]), begun=True)
    assert load_config(tmp_path) == config


def test_without_a_checkpoint_nothing_is_lost_by_another_config(config, tmp_path):
    save_config(tmp_path, config, begun=False)
    other = override(config, ["seed=1"])
    save_config(tmp_path, other, begun=False)
    assert load_config(tmp_path) == other


def test_a_free_name_frees_no_longer_one(config):
    assert "log" in FREE
    other = override(config, [])
    with other.unlocked():
        other.logits = 1
    with pytest.raises(ConfigError, match="logits"):
        check_continues(config, other, "runs/it")
