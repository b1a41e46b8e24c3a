"""What the command sets up before it trains: the compilation cache, the time it counts."""

import sys

import jax
import pytest

from maskmim import train
from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.runtime.timeline import Timeline
from maskmim.train import keep_programs, processor


@pytest.fixture
def folder_of_programs():
    """Yield a reader of jax's setting, which is restored afterwards."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield lambda: jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", before)


def test_programs_are_kept_in_the_work_directory_by_processor(tmp_path, folder_of_programs):
    config = load("configs/mae.py:tiny")
    keep_programs(config, tmp_path)
    assert folder_of_programs() == str(tmp_path / "programs" / processor())
    assert processor() == processor() and "/" not in processor()


def test_jax_s_own_setting_goes_first(tmp_path, folder_of_programs):
    jax.config.update("jax_compilation_cache_dir", "/elsewhere")
    keep_programs(load("configs/mae.py:tiny"), tmp_path)
    assert folder_of_programs() == "/elsewhere"


def test_no_folder_keeps_nothing(tmp_path, folder_of_programs):
    config = load("configs/mae.py:tiny", ["process.compile_cache="])
    keep_programs(config, tmp_path)
    assert folder_of_programs() is None


def test_a_call_from_python_is_not_the_life_of_its_process(monkeypatch):
    ages = []

    def timeline(*, before):
        ages.append(before)
        return Timeline(before=before)

    monkeypatch.setattr(train, "Timeline", timeline)
    monkeypatch.setattr(sys, "argv", ["train", "--config=nothing"])
    for argv in (["--config=nothing"], None):
        with pytest.raises(ConfigError):
            train.main(argv)
    assert ages[0] == 0 < ages[1]
