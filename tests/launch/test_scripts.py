"""All launch scripts: the shell checker's verdict, their exit codes, and their usage text."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from maskmim import errors
from tests.launch import contract
from tests.running import ROOT

SCRIPTS = sorted([*(ROOT / "launch").glob("*.sh"), ROOT / "launch" / "slurm.sbatch"])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    checker = Path(sys.executable).with_name("shellcheck")
    result = subprocess.run([checker, "-x", script], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_shell_knows_every_code_by_its_name():
    text = (ROOT / "launch" / "exit_codes.sh").read_text()
    named = {name: int(code) for name, code in re.findall(r"\b([A-Z_]+)=(\d+)", text)}
    assert named == {name: code for code, name in contract.named().items() if code != 130}
    assert all(getattr(errors, name) == code for name, code in named.items())


def test_the_shell_starts_again_where_the_table_does_not_say_no():
    """Codes that are not in the table are those of crashes and signals."""
    assert contract.shell_again(range(256)) == set(range(256)) - contract.saying("no")
    assert set(contract.answers().values()) == {"no", "yes", "perhaps"}


@pytest.mark.parametrize("name", ["local.sh", "tpu_vm.sh", "xpk.sh"])
def test_without_arguments_a_script_shows_its_use(name):
    result = subprocess.run([ROOT / "launch" / name], capture_output=True, text=True)
    assert result.returncode == errors.USAGE and not result.stdout
    assert f"launch/{name}" in result.stderr and "RESTARTS" in result.stderr
    assert "set -" not in result.stderr  # the comment alone


@pytest.mark.parametrize(
    ("words", "variables", "message"),
    [
        (["xpk.sh", "mae"], {}, "CLUSTER is not set"),
        (["xpk.sh", "mae"], {"CLUSTER": "c", "ZONE": "z"}, "TYPE is not set"),
        (["xpk.sh", "My_Run", "-"], {"CLUSTER": "c", "ZONE": "z", "TYPE": "t"}, "got 'My_Run'"),
        (["xpk.sh", "mae"], {"CLUSTER": "c", "ZONE": "z", "TYPE": "t"}, "no arguments after 'mae'"),
        (["tpu_vm.sh", "create"], {"TPU": "t"}, "ZONE is not set"),
        (["tpu_vm.sh", "run"], {"TPU": "t", "ZONE": "z"}, "unknown action 'run': create, wait"),
        (["tpu_vm.sh", "keep"], {"TPU": "t", "ZONE": "z"}, "keep needs the arguments"),
    ],
)
def test_what_is_missing_is_named(words, variables, message):
    clean = {k: v for k, v in os.environ.items() if k not in ("CLUSTER", "ZONE", "TYPE", "TPU")}
    script, *rest = words
    result = subprocess.run(
        [ROOT / "launch" / script, *rest],
        env={**clean, **variables},
        capture_output=True,
        text=True,
    )
    assert result.returncode == errors.USAGE and message in result.stderr
