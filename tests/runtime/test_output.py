"""Printing never ends a command: closed pipes, full disks, poor encodings; and plain warnings."""

import io
import logging
import os
import subprocess
import sys

import pytest

from maskmim.runtime import output
from tests.running import ROOT

LINE = "25.2 ± 0.9 × 2, caf\u00e9, lost \udcff byte"
PRINTS = f"""
import sys
from maskmim.runtime import output
output.protect_streams()
print({LINE!r})
print("x" * 100_000, file=sys.stderr)
for _ in range(3):
    print("y" * 100_000, flush=True)
sys.exit(7)
"""


def run(redirection, encoding="utf-8"):
    """The result of a program that prints, in a shell with that redirection."""
    return subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {redirection}', sys.executable, PRINTS],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    "redirection", ["", ">/dev/full", "2>/dev/full", ">&-", "2>&-", ">&- 2>&-"]
)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_the_exit_code_is_that_of_the_program(redirection, encoding):
    assert run(redirection, encoding).returncode == 7


def test_a_reader_that_leaves_changes_no_exit_code():
    code = run("2>/dev/null | head -c 1; exit ${PIPESTATUS[0]}")
    assert (code.returncode, code.stdout) == (7, b"2")


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", rb"25.2 +- 0.9 x 2, caf\xe9, lost \udcff byte"),
        ("latin-1", b"25.2 \xb1 0.9 \xd7 2, caf\xe9, lost \\udcff byte"),
        ("utf-8", b"25.2 \xc2\xb1 0.9 \xc3\x97 2, caf\xc3\xa9, lost \\udcff byte"),
    ],
)
def test_what_an_encoding_lacks_is_written_in_another_way(encoding, shown):
    assert run("", encoding).stdout.splitlines()[0] == shown


def test_a_full_disk_is_told_of_once():
    said = run(">/dev/full").stderr.decode()
    assert said.count("warning: stdout cannot be written (No space left on device)") == 1


def test_a_full_pipe_that_does_not_block_is_waited_for():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    child = subprocess.Popen([sys.executable, "-c", PRINTS], stdout=writer, cwd=ROOT,
                             stderr=subprocess.DEVNULL)  # fmt: skip
    os.close(writer)
    with open(reader, "rb") as stream:
        text = stream.read()
    assert child.wait() == 7 and text.count(b"y" * 100_000) == 3


def test_streams_that_are_not_the_process_s_stay(monkeypatch):
    mine = io.StringIO()
    monkeypatch.setattr(sys, "stdout", mine)
    output.protect_streams()
    assert sys.stdout is mine


def test_warnings_have_no_logger_s_name(capsys):
    logger = logging.getLogger("maskmim")
    with output.plain_warnings():
        logger.warning("%s cannot be written", "a.txt")
    assert capsys.readouterr().err == "maskmim: warning: a.txt cannot be written\n"
    assert logger.propagate and not logger.handlers
