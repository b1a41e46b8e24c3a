"""Work directories that cannot be used: a sentence that names the place, and exit code 2."""

import os

import pytest

from maskmim import errors
from maskmim.runtime.shutdown import Shutdown
from maskmim.runtime.workdir_lock import NAME, InUse, Unusable, make_workdir, unusable
from maskmim.train import hold

NOBODY = 65534


@pytest.fixture
def as_nobody():
    """Return a function: what a user without rights is told when a training makes a work directory.

    For root, who runs the tests in containers, permissions do not count.
    """
    if os.geteuid():
        pytest.skip("only root can become another user")

    def told(workdir):
        os.seteuid(NOBODY)
        try:
            with pytest.raises(Unusable) as error, hold(workdir, Shutdown()):
                pass
        finally:
            os.seteuid(0)
        assert error.value.exit_code == errors.USAGE
        return str(error.value)

    return told


@pytest.fixture
def open_place(tmp_path):
    """Return a folder that everybody may enter."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and len(folder.parts) > 2:
            folder.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("below", ["", "run", "a/run"])
def test_a_file_in_the_way_is_named(tmp_path, below):
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with pytest.raises(Unusable, match=r"notes.txt is a file, not a folder.*--workdir"):
        make_workdir(file / below)
    assert file.read_text() == "mine"


def test_a_folder_that_may_not_be_written(open_place, as_nobody):
    (open_place / "run").mkdir(mode=0o755)
    told = as_nobody(open_place / "run")
    assert "Permission denied" in told and "--workdir" in told
    assert not list((open_place / "run").iterdir())


def test_a_folder_above_that_may_not_be_written_or_entered(open_place, as_nobody):
    told = as_nobody(open_place / "new" / "run")
    assert f"Permission denied ({open_place / 'new'})" in told
    (open_place / "closed" / "run").mkdir(parents=True)
    (open_place / "closed").chmod(0o700)
    told = as_nobody(open_place / "closed" / "run")
    assert "Permission denied" in told


def test_a_full_disk_is_no_mistake_of_the_user(tmp_path):
    error = unusable(tmp_path, OSError(28, "No space left on device", str(tmp_path / NAME)))
    assert error.exit_code == errors.STORAGE and "Make room" in str(error)


def test_a_training_holds_its_work_directory(tmp_path):
    workdir, shutdown = tmp_path / "a" / "run", Shutdown()
    with hold(workdir, shutdown):
        assert (workdir / NAME).exists()
        with pytest.raises(InUse), hold(workdir, Shutdown()):
            pass
        assert (workdir / NAME).exists()
    assert not (workdir / NAME).exists()
    with pytest.raises(ZeroDivisionError), hold(workdir, shutdown):
        raise ZeroDivisionError
    assert not (workdir / NAME).exists()
    with hold(workdir, shutdown):
        shutdown.release()  # as where the process ends at once
        assert not (workdir / NAME).exists()
