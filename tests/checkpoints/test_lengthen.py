"""A run that is lengthened by the argument of its config."""

import pytest

from maskmim.checkpoints.lengthen import keep_warmup
from maskmim.checkpoints.workdir import check_changes, save_config
from maskmim.config import ConfigError
from maskmim.config.load import load

CONFIGS = ["folder:/data/photos,", "quickstart:", "mae:", "videomae:path=/v,", "audio_mae:"]


def begun(workdir, config):
    """Store a config, and the folder of a checkpoint of step 7."""
    (workdir / "checkpoints" / "7").mkdir(parents=True)
    save_config(workdir, config)
    return config


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("longer", [4, 400])
def test_the_argument_does_what_the_flag_does(tmp_path, capsys, name, longer):
    old = begun(tmp_path, load(f"{name}epochs=2"))
    flag = load(f"{name}epochs=2", [f"train.epochs={longer}"])
    colon = keep_warmup(load(f"{name}epochs={longer}"), tmp_path, [])
    assert colon.to_dict() == flag.to_dict() and colon.is_locked
    assert len(check_changes(old, colon, tmp_path)) == 1
    assert "the warm-up stays" in capsys.readouterr().out


def test_nothing_is_kept_without_a_checkpoint_or_against_a_flag(tmp_path, capsys):
    new = load("quickstart:epochs=4")
    assert keep_warmup(new, tmp_path, []) is new
    save_config(tmp_path, load("quickstart:epochs=2"))
    assert keep_warmup(new, tmp_path, []) is new
    (tmp_path / "checkpoints" / "7").mkdir(parents=True)
    asked = load("quickstart:epochs=4", ["schedule.warmup_epochs=1"])
    assert keep_warmup(asked, tmp_path, ["schedule.warmup_epochs=1"]) is asked
    same = load("quickstart:epochs=2")
    assert keep_warmup(same, tmp_path, []) is same
    assert capsys.readouterr().out == ""


def test_what_else_is_tied_says_the_flag(tmp_path):
    """AttMask's second recipe has another batch size."""
    old = begun(tmp_path, load("attmask:epochs=100"))
    new = keep_warmup(load("attmask:epochs=300"), tmp_path, [])
    with pytest.raises(ConfigError, match=r"as it was, with --config.train.epochs=300$"):
        check_changes(old, new, tmp_path)
    with pytest.raises(ConfigError) as error:
        check_changes(old, load("attmask:epochs=100", ["seed=1"]), tmp_path)
    assert "--config.train.epochs" not in str(error.value)
