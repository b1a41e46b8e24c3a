"""The launch scripts: what a shell checker says, and that they know the exit codes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from maskmim import exits
from tests.running import ROOT, environment

SCRIPTS = sorted([*(ROOT / "launch").glob("*.sh"), ROOT / "launch" / "slurm.sbatch"])
NEVER_AGAIN = {exits.DONE, exits.USAGE, exits.DIVERGED, exits.BAD_DATA}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    checker = Path(sys.executable).with_name("shellcheck")
    found = subprocess.run([checker, "-x", script], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_the_shell_knows_the_codes_of_python():
    text = (ROOT / "launch" / "exit_codes.sh").read_text()
    named = dict(re.findall(r"\b([A-Z_]+)=(\d+)", text))
    assert named == {name: str(getattr(exits, name)) for name in named}
    asked = "source launch/exit_codes.sh; for c in {0..255}; do again $c && echo $c; done"
    found = subprocess.run(["bash", "-c", asked], cwd=ROOT, capture_output=True, text=True)
    assert set(map(int, found.stdout.split())) == set(range(256)) - NEVER_AGAIN


def test_kubernetes_and_sky_know_the_codes():
    jobset = yaml.safe_load((ROOT / "launch" / "gke_jobset.yaml").read_text())
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert set(rule["onExitCodes"]["values"]) == NEVER_AGAIN - {0}
    assert rule["onExitCodes"]["containerName"] == job["template"]["spec"]["containers"][0]["name"]
    sky = yaml.safe_load((ROOT / "launch" / "sky.yaml").read_text())
    recovery = sky["resources"]["job_recovery"]
    assert set(recovery["recover_on_exit_codes"]) == {exits.SAVED, exits.STUCK}


def run_local(tmp_path, codes, **changes):
    """Runs local.sh with an interpreter that leaves with these codes, one after the other."""
    fake = tmp_path / "python"
    fake.write_text(
        f'#!/usr/bin/env bash\necho "$@" >> {tmp_path}/calls\n'
        f"n=$(wc -l < {tmp_path}/calls)\ncodes=({' '.join(map(str, codes))})\n"
        "exit ${codes[$((n - 1))]}\n"
    )
    fake.chmod(0o755)
    found = subprocess.run(
        ["bash", "launch/local.sh", "--config", "c.py"],
        cwd=ROOT,
        env=environment(PYTHON=str(fake), **changes),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return found.returncode, (tmp_path / "calls").read_text().splitlines()


@pytest.mark.parametrize(
    ("codes", "expected"), [([0], 0), ([2], 2), ([75], 75), ([70, 0], 0), ([1, 65], 65)]
)
def test_a_local_run_starts_again_after_a_crash_only(codes, expected, tmp_path):
    code, calls = run_local(tmp_path, codes)
    assert code == expected and len(calls) == len(codes)
    assert calls[0] == "-m maskmim.train --config c.py"


def test_a_local_run_gives_up(tmp_path):
    code, calls = run_local(tmp_path, [1, 1, 1], RESTARTS="1")
    assert code == 1 and len(calls) == 2


def test_local_processes_get_their_places(tmp_path):
    code, calls = run_local(tmp_path, [0, 0, 0], PROCESSES="3", PORT="5555")
    assert code == 0
    told = "--coordinator 127.0.0.1:5555 --processes 3 --process"
    assert sorted(calls) == [f"-m maskmim.train --config c.py {told} {i}" for i in range(3)]
