"""The compilation cache that the command sets up before it trains."""

import jax
import pytest

from maskmim.config.load import load
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
