"""A training whose output cannot be written, or not in full, ends as any other."""

import subprocess

import pytest

from maskmim import errors
from tests.running import ROOT, SMALL, as_tests, command, environment

pytestmark = pytest.mark.full

FLAGS = (
    "--config=mae:tiny",
    *SMALL,
    "--config.data.train.split=val",
    "--config.evals.train.split=val",
    "--config.evals.test.split=val",
)


def test_a_terminal_of_ascii_and_a_full_disk(tmp_path):
    flags = (*FLAGS, f"--workdir={tmp_path / 'run'}", "--config.evals.at_end=knn")
    words = command("train", *flags)
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            words, cwd=ROOT, env=environment(PYTHONIOENCODING="ascii", **as_tests()),
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == errors.DONE, done.stderr
    assert done.stderr.count("stdout cannot be written") == 1
    done = subprocess.run(
        words, cwd=ROOT, env=environment(PYTHONIOENCODING="ascii", **as_tests()),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == errors.DONE, done.stderr
    assert "+-" in done.stdout
