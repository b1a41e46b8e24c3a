"""launch/slurm.sbatch on a real SLURM of two nodes: what requeues, what does not, what resumes."""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.launch import contract, loopback
from tests.running import ROOT, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(loopback.missing()), reason=loopback.missing() or "there is SLURM"),
]

SCRIPT = "launch/slurm.sbatch"
TINY = "--config=configs/colormae.py:tiny"
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")

# Leaves with the code of this start, or says which signal came and leaves as a training does.
STAND_IN = """#!/usr/bin/env bash
echo "start ${SLURM_RESTART_COUNT:-0} of ${SLURM_ARRAY_TASK_ID:-it}: $*"
codes="CODES${SLURM_ARRAY_TASK_ID:-}"
read -ra codes <<< "${!codes}"
code=${codes[${SLURM_RESTART_COUNT:-0}]}
if [[ $code != wait ]]; then exit "$code"; fi
trap 'echo "got TERM"; kill $!; exit 75' TERM
trap 'echo "got USR1"; kill $!; exit 75' USR1
sleep 300 & wait
"""


@pytest.fixture(scope="module")
def slurm():
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    try:
        with loopback.cluster(folder) as started:
            (folder / "python").write_text(STAND_IN)
            (folder / "python").chmod(0o755)
            yield started
    finally:
        shutil.rmtree(folder)


def submit(slurm, *words, **changes):
    """Submit the script with a replacement for python; return (job, path of its output)."""
    output = slurm.folder / f"{time.monotonic_ns()}-%a.out"
    changes = {"PYTHON": str(slurm.folder / "python"), "RESTARTS": "0", **changes}
    number = slurm.submit(f"--output={output}", *words, **changes)
    return number, Path(str(output).replace("%a", "4294967294"))  # SLURM's number for 'no array'


def facts(job):
    return job["JobState"], job["ExitCode"], job["Restarts"]


def losses(workdir):
    """Return [(step, loss)] in the order of the file."""
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [(row["step"], row["loss"]) for row in rows if "loss" in row]


def saved(workdir):
    """Return whether a checkpoint exists."""
    return any((workdir / "checkpoints").glob("[0-9]*"))


def test_a_preempted_training_on_two_nodes_requeues_and_continues(slurm, tmp_path):
    flags = (TINY, "--config.train.epochs=8")
    workdir, steps = tmp_path / "run", 148
    asked = ("--exclusive", "--nodes=2", "--partition=low")
    number, output = submit(
        slurm, *asked, SCRIPT, *flags, f"--workdir={workdir}", PYTHON=sys.executable
    )
    timeline = [f"{slurm.seconds():6.1f} s  job {number} submitted to `low`, two nodes"]
    loopback.for_seconds(900, lambda: saved(workdir) or slurm.job(number)["JobState"] in ENDED)
    timeline.append(f"{slurm.seconds():6.1f} s  a checkpoint is there")
    urgent = slurm.submit("--exclusive", "--nodes=2", "--partition=high", "--wrap=sleep 3")
    timeline.append(f"{slurm.seconds():6.1f} s  job {urgent} submitted to `high`, two nodes")
    slurm.wait(urgent, "RUNNING", "COMPLETED")
    timeline.append(f"{slurm.seconds():6.1f} s  job {urgent} runs; {number} saved and is queued")
    slurm.wait(number, "RUNNING")
    timeline.append(f"{slurm.seconds():6.1f} s  job {number} runs again")
    ended = slurm.wait(number, *ENDED)
    timeline.append(f"{slurm.seconds():6.1f} s  job {number} ended: {' '.join(facts(ended))}")
    text = output.read_text()
    print("\n".join([*timeline, text]))

    assert facts(ended) == ("COMPLETED", "0:0", "1"), text
    assert "slurm.sbatch: exit code 75 after start 0" in text
    assert "slurm.sbatch: exit code 0 after start 1" in text
    (line,) = [line for line in text.splitlines() if line.startswith("continuing from step")]
    assert 18 <= int(line.split()[3]) < steps and line.endswith(f"of {steps}")
    assert "devices           2 x cpu" in text
    found = losses(workdir)
    assert [step for step, _ in found] == list(range(1, steps + 1))

    alone = tmp_path / "alone"
    assert run("train", *flags, f"--workdir={alone}").returncode == 0
    worst = max(abs(one[1] / two[1] - 1) for one, two in zip(losses(alone), found, strict=True))
    print(f"largest relative difference of a loss to one undisturbed process: {worst:.1e}")
    assert worst < 1e-5


def test_tasks_of_an_array_train_in_folders_of_their_own(slurm, tmp_path):
    words = [sys.executable, "launch/sweep.py", "--config=configs/colormae.py:tiny"]
    swept = slurm.run(*words, f"--workdir={tmp_path}", "--product", "seed=3,4")
    commands = tmp_path / "commands.txt"
    commands.write_text(swept)
    number, _ = submit(slurm, "--array=1-2", SCRIPT, COMMANDS=str(commands), PYTHON=sys.executable)
    for task in (1, 2):
        ended = slurm.wait(f"{number}_{task}", *ENDED)
        assert facts(ended) == ("COMPLETED", "0:0", "0")
    folders = [tmp_path / f"seed={seed}" for seed in (3, 4)]
    assert [json.loads((f / "config.json").read_text())["seed"] for f in folders] == [3, 4]
    one, two = map(losses, folders)
    assert [step for step, _ in one] == [step for step, _ in two] and one != two


def test_a_wrong_config_ends_the_job(slurm, tmp_path):
    words = (SCRIPT, TINY, "--config.mask.ratoi=0.5", f"--workdir={tmp_path / 'run'}")
    number, output = submit(slurm, *words, PYTHON=sys.executable)
    assert facts(slurm.wait(number, *ENDED)) == ("FAILED", "2:0", "0")
    assert "did you mean 'mask.ratio'" in output.read_text()


def test_the_table_of_exit_codes_says_what_requeues(slurm):
    jobs = {
        code: submit(slurm, SCRIPT, CODES=f"{code} 0", RESTARTS="1")[0]
        for code in contract.answers()
    }
    requeued = {code for code, job in jobs.items() if slurm.wait(job, *ENDED)["Restarts"] == "1"}
    assert requeued == contract.saying("yes", "perhaps")
    for code, job in jobs.items():
        state = ("COMPLETED", "0:0") if code in {0, *requeued} else ("FAILED", f"{code}:0")
        assert facts(slurm.job(job))[:2] == state


def test_crashes_are_counted_and_saves_are_not(slurm):
    words = ("--comment=a word", SCRIPT)
    number, _ = submit(slurm, *words, CODES="1 75 70 75 1 0", RESTARTS="2")
    assert facts(slurm.wait(number, *ENDED)) == ("FAILED", "1:0", "4")
    assert slurm.run("squeue", "-h", "-t", "all", "-j", number, "-o", "%k").strip() == (
        "a word crashes=2"
    )


def test_one_task_of_an_array_requeues_alone(slurm, tmp_path):
    """The last task of an array has the array's number as its own."""
    commands = tmp_path / "commands.txt"
    commands.write_text("--first\n--second 'two words'\n")
    number, _ = submit(
        slurm, "--array=1-2", SCRIPT, COMMANDS=str(commands), CODES1="wait 0", CODES2="75 0"
    )
    again = slurm.wait(f"{number}_2", *ENDED)
    assert facts(again) == ("COMPLETED", "0:0", "1") and again["JobId"] == number
    other = slurm.job(f"{number}_1")
    assert (other["JobState"], other["Restarts"]) == ("RUNNING", "0")
    slurm.run("scancel", number)
    lines = "".join(path.read_text() for path in slurm.folder.glob("*-2.out"))
    assert "start 0 of 2: -m maskmim.train --second two words" in lines


SHOWS_DEVICES = """#!INTERPRETER
import jax
from jax._src import distributed, xla_bridge
jax.distributed.initialize()
used = xla_bridge.CUDA_VISIBLE_DEVICES.value
print(f"process {distributed.global_state.process_id} uses GPUs {used}")
"""


def test_a_process_has_all_gpus_of_its_node(slurm):
    """jax itself would give the one process of a node its first GPU alone."""
    program = slurm.folder / "shows_devices"
    program.write_text(SHOWS_DEVICES.replace("INTERPRETER", sys.executable))
    program.chmod(0o755)
    asked = ("--nodes=2", f"--gpus-per-node={loopback.GPUS}", SCRIPT)
    number, output = submit(slurm, *asked, PYTHON=str(program))
    assert facts(slurm.wait(number, *ENDED)) == ("COMPLETED", "0:0", "0"), output.read_text()
    lines = [line for line in output.read_text().splitlines() if line.startswith("process")]
    assert sorted(lines) == [f"process {index} uses GPUs 0,1,2,3" for index in (0, 1)]


def test_a_cancelled_job_saves_and_stays_cancelled(slurm):
    number, output = submit(slurm, SCRIPT, CODES="wait 0")
    loopback.for_seconds(60, lambda: output.exists() and "start 0" in output.read_text())
    slurm.run("scancel", number)
    assert facts(slurm.wait(number, *ENDED)) == ("CANCELLED", "75:0", "0")
    assert "got TERM" in output.read_text()


def test_preemption_without_grace_requeues_once(slurm):
    number, output = submit(slurm, "--exclusive", "--partition=rude", SCRIPT, CODES="wait 0")
    loopback.for_seconds(60, lambda: output.exists() and "start 0" in output.read_text())
    slurm.submit("--exclusive", "--nodes=2", "--partition=high", "--wrap=sleep 1")
    assert facts(slurm.wait(number, *ENDED)) == ("COMPLETED", "0:0", "1")
    assert "got TERM" in output.read_text()


def test_the_time_limit_saves_and_requeues(slurm):
    number, output = submit(slurm, "--time=2", "--signal=USR1@90", SCRIPT, CODES="wait 0")
    assert facts(slurm.wait(number, *ENDED)) == ("COMPLETED", "0:0", "1")
    assert "got USR1" in output.read_text()


def test_elsewhere_the_script_says_where_to_submit(slurm, tmp_path):
    number, output = submit(slurm, f"--chdir={tmp_path}", ROOT / SCRIPT, CODES="0")
    assert facts(slurm.wait(number, *ENDED)) == ("FAILED", "2:0", "0")
    assert f"{tmp_path} is not a checkout of maskmim" in output.read_text()
