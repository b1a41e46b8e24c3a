"""Errors of files that lack room or permission become a sentence, others keep their traceback."""

import errno
import os

import pytest

from maskmim import errors
from maskmim.files import write_atomic
from maskmim.runtime.exits import report_error


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (errno.ENOSPC, errors.STORAGE, "make room"),
        (errno.EDQUOT, errors.STORAGE, "make room"),
        (errno.EACCES, errors.USAGE, "permissions"),
        (errno.EROFS, errors.USAGE, "permissions"),
        (errno.ENOTDIR, errors.USAGE, "another path"),
        (errno.ENAMETOOLONG, errors.USAGE, "another path"),
    ],
)
def test_an_error_of_a_place_is_a_sentence(capsys, number, code, words):
    assert report_error(OSError(number, os.strerror(number), "/data/x")) == code
    printed = capsys.readouterr().err
    assert printed.startswith(f"maskmim: error: /data/x: {os.strerror(number)}: ")
    assert words in printed and printed.count("\n") == 1


@pytest.mark.parametrize(
    "error", [OSError(errno.EINVAL, "Invalid", "/x"), OSError("unknown"), PermissionError(1, "no")]
)
def test_other_errors_keep_their_traceback(capsys, error):
    assert report_error(error) == errors.FAILED
    assert "Error" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_named_and_leaves_no_half(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    with pytest.raises(FileNotFoundError) as error:
        write_atomic(tmp_path / "none" / "x", "text")
    assert error.value.filename == str(tmp_path / "none" / "x")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("maskmim.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        write_atomic(path, "text", sync=True)
    assert error.value.filename == str(path) and not list(tmp_path.iterdir())
