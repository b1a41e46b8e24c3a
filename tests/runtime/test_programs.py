"""The folder of compiled programs that a training sets up before it begins."""

import jax
import pytest

from maskmim.config import base
from maskmim.runtime.programs import keep_programs, processor


@pytest.fixture
def folder_of_programs():
    """Yield a reader of jax's setting, which is restored afterwards."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield lambda: jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", before)


def test_programs_are_kept_in_the_work_directory_by_processor(tmp_path, folder_of_programs):
    keep_programs(base().process.compile_cache, tmp_path)
    assert folder_of_programs() == str(tmp_path / "programs" / processor())
    assert processor() == processor() and "/" not in processor()


def test_jax_s_own_setting_goes_first(tmp_path, folder_of_programs):
    jax.config.update("jax_compilation_cache_dir", "/elsewhere")
    keep_programs("programs", tmp_path)
    assert folder_of_programs() == "/elsewhere"


def test_no_folder_keeps_nothing(tmp_path, folder_of_programs):
    keep_programs("", tmp_path)
    assert folder_of_programs() is None
