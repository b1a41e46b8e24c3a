"""launch/tpu_vm.sh and xpk.sh, with programs that replace gcloud, xpk and TPU hosts."""

import re
import shlex
import signal
import subprocess
import time

import pytest
import yaml

from maskmim import errors
from tests.launch import contract
from tests.launch.pretend import Pretended
from tests.running import ROOT

ARGUMENTS = [
    "--config",
    "configs/mae.py",
    "--config.data.augment.scale=(0.2, 1.0)",
    "--x=it's $HOME",
]
SLICE = {"TPU": "one", "ZONE": "us-x1-b", "TYPE": "v4-32", "RUNTIME": "r", "POLL": "0"}
CLUSTER = {"CLUSTER": "c", "ZONE": "us-x1-b", "TYPE": "v5litepod-16", "DOCKER_IMAGE": "image"}

# A slice of two hosts, each a home on this machine. `describe` reads the queue's states one by one
# and stays at the last; `ssh` and `scp` return the first host's code that is not 0, as gcloud does.
GCLOUD = """
shift 2
for word; do case $word in --command=*) remote=${word#--command=} ;; esac; done
case "$1 $2" in
  "queued-resources describe")
    echo >> HOSTS/asked
    mapfile -t states < HOSTS/states
    turn=$(($(wc -l < HOSTS/asked) - 1))
    state=${states[turn < ${#states[@]} ? turn : ${#states[@]} - 1]}
    if [[ $state == NONE ]]; then exit 1; fi
    echo "$state" ;;
  "queued-resources create") exit "${CREATE_CODE:-0}" ;;
  "queued-resources delete") rm -rf HOSTS/*/maskmim ;;
  "tpu-vm scp") for host in HOSTS/?; do cp "$3" "$host/${4#*:}"; done ;;
  "tpu-vm ssh")
    for host in HOSTS/?; do
      (cd "$host" && HOST=$host HOME=$host exec bash -c "$remote") &
    done
    first=0
    for started in $(jobs -p); do wait "$started" || { code=$?; ((first)) || first=$code; }; done
    exit "$first" ;;
esac
"""
# What `setup` calls on a host: uv makes an environment whose python is the trainer.
PYTHON = """
if [[ $* == "-m uv venv"* ]]; then mkdir -p .venv/bin; ln -sf TRAINER .venv/bin/python; fi
"""


@pytest.fixture
def slice_of_two(tmp_path):
    made = Pretended(tmp_path)
    hosts = tmp_path / "hosts"
    for host in "01":
        (hosts / host).mkdir(parents=True)
    made.program("gcloud", GCLOUD.replace("HOSTS", str(hosts)))
    made.program("git", f"tar -czf - -C {ROOT} launch requirements.txt")
    made.program("python3", PYTHON.replace("TRAINER", str(made.programs / "trainer")))
    states(made, "ACTIVE")
    return made


def states(pretended, *names):
    """Set the states that the queue will give for the slice."""
    (pretended.folder / "hosts" / "states").write_text("\n".join(names) + "\n")


def tpu(pretended, *words, **changes):
    return pretended.run("launch/tpu_vm.sh", *words, **{**SLICE, **changes})


def verbs(pretended):
    """Return the calls of gcloud except for the state, in short: create, scp, setup, ..."""
    names = []
    for words in pretended.calls("gcloud"):
        text = " ".join(words)
        for name in ("describe", "create", "delete", "scp", "test -x", "uv venv", "maskmim.train"):
            if name in text:
                names.append(name)
                break
        else:
            names.append(text)
    return [name for name in names if name != "describe"]


NEW = ["create", "scp", "uv venv", "maskmim.train"]


def test_arguments_reach_every_host_as_they_are(slice_of_two):
    slice_of_two.trainer(0)
    assert tpu(slice_of_two, "setup").returncode == 0
    assert tpu(slice_of_two, "train", *ARGUMENTS).returncode == 0
    expected = ["-m", "maskmim.train", "--coordinator", "auto", *ARGUMENTS]
    assert slice_of_two.calls("trainer") == [expected, expected]
    for host in "01":
        assert (slice_of_two.folder / "hosts" / host / "maskmim" / "launch" / "tpu_vm.sh").exists()


def test_spot_and_project_are_asked_for(slice_of_two):
    assert tpu(slice_of_two, "create", SPOT="1", PROJECT="mine").returncode == 0
    (words,) = slice_of_two.calls("gcloud")
    assert words[:5] == ["compute", "tpus", "queued-resources", "create", "one"]
    assert {"--zone=us-x1-b", "--project=mine", "--node-id=one", "--spot"} <= set(words)
    assert {"--accelerator-type=v4-32", "--runtime-version=r"} <= set(words)


def test_a_preempted_slice_is_made_again_and_the_run_goes_on(slice_of_two):
    """Every host saved (75), or ssh lost them (255); the slice is suspended."""
    slice_of_two.trainer(75, 255, 0)
    gone = ["SUSPENDED"] * 3
    states(slice_of_two, "NONE", "PROVISIONING", "ACTIVE", *gone, "ACTIVE", *gone, "ACTIVE")
    result = tpu(slice_of_two, "keep", *ARGUMENTS, SPOT="1", RESTARTS="0")
    assert result.returncode == 0, result.stderr
    assert verbs(slice_of_two) == [*NEW, "delete", *NEW, "delete", *NEW]
    (removed, _) = [words for words in slice_of_two.calls("gcloud") if "delete" in words]
    assert "--force" in removed and "--quiet" in removed


@pytest.mark.parametrize("first", sorted(set(contract.answers()) - {0}))
def test_on_a_slice_that_is_there_the_table_decides(first, slice_of_two):
    slice_of_two.trainer(first, 0)
    again = first in contract.saying("yes", "perhaps")
    found = tpu(slice_of_two, "keep", *ARGUMENTS)
    assert found.returncode == (0 if again else first)
    assert verbs(slice_of_two).count("maskmim.train") == (2 if again else 1)
    assert "create" not in verbs(slice_of_two)


def test_crashes_are_counted_and_saves_are_not(slice_of_two):
    slice_of_two.trainer(75, 75, 1, 75, 70, 0)
    assert tpu(slice_of_two, "keep", *ARGUMENTS, RESTARTS="1").returncode == 70
    assert verbs(slice_of_two).count("maskmim.train") == 5


def test_a_slice_that_cannot_be_made_is_given_up(slice_of_two):
    states(slice_of_two, "NONE")
    assert tpu(slice_of_two, "keep", *ARGUMENTS, RESTARTS="2", CREATE_CODE="1").returncode == 1
    assert verbs(slice_of_two) == ["create"] * 3


def test_a_second_start_on_the_same_hosts_is_refused(slice_of_two):
    """As when the connection was lost: the first training is still there."""
    ready = slice_of_two.folder / "ready"
    slice_of_two.program("trainer", f"touch {ready}; /bin/sleep 3")
    assert tpu(slice_of_two, "setup").returncode == 0
    first = slice_of_two.start("launch/tpu_vm.sh", "train", *ARGUMENTS, **SLICE)
    while not ready.exists():
        time.sleep(0.02)
    second = tpu(slice_of_two, "train", *ARGUMENTS)
    first.communicate(timeout=30)
    assert first.returncode == 0 and second.returncode == errors.USAGE


def test_stop_means_the_training_and_no_shell_around_it(slice_of_two):
    slice_of_two.program("pkill", "")
    assert tpu(slice_of_two, "stop").returncode == 0
    (words, _) = slice_of_two.calls("pkill")
    assert words[:2] == ["-TERM", "-f"]
    tpu(slice_of_two, "train", *ARGUMENTS)
    remote = [word for words in slice_of_two.calls("gcloud") for word in words if "--comm" in word]
    shells = [f"bash -c {word.removeprefix('--command=')}" for word in remote]
    wrapped = "flock -n -o -E 2 /root/maskmim.lock .venv/bin/python -m maskmim.train"
    assert len(shells) == 2 and not any(re.search(words[2], text) for text in [*shells, wrapped])
    assert re.search(words[2], ".venv/bin/python -m maskmim.train --coordinator auto")


def test_a_dry_run_shows_commands_and_runs_none(slice_of_two):
    found = tpu(slice_of_two, "--dry-run", "keep", *ARGUMENTS)
    assert found.returncode == 0 and not slice_of_two.calls("gcloud")
    shown = [shlex.split(line) for line in found.stdout.splitlines()]
    assert all(words[:3] == ["gcloud", "compute", "tpus"] for words in shown)
    assert [words[4] for words in shown] == ["create", "scp", "ssh", "ssh"]


def xpk(pretended, *words, **changes):
    pretended.program("xpk", "")
    return pretended.run("launch/xpk.sh", *words, **{**CLUSTER, **changes})


def flags(words):
    return dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)


def test_xpk_is_told_what_the_table_says(tmp_path):
    pretended = Pretended(tmp_path)
    asked = {"SPOT": "1", "SLICES": "2", "MOUNT": "disk", "PROJECT": "p", "GRACE": "300"}
    assert xpk(pretended, "mae", *ARGUMENTS, **asked).returncode == 0
    (words,) = pretended.calls("xpk")
    assert words[:2] == ["workload", "create"] and "--spot" in words
    told = flags(words)
    codes = set(map(int, told["--restart-on-exit-codes"].split(",")))
    # xpk starts again after 127 and above of its own accord.
    assert codes == {code for code in contract.saying("yes", "perhaps") if code < 127}
    assert told["--workload"] == "mae" and told["--num-slices"] == "2"
    assert told["--storage"] == "disk" and told["--project"] == "p"
    assert told["--termination-grace-period-seconds"] == "300"


def test_xpk_runs_the_training_with_the_arguments_as_they_are(tmp_path):
    pretended = Pretended(tmp_path)
    pretended.program("python", "")
    pretended.program("pip", "")
    for changes in ({}, {"DOCKER_IMAGE": ""}):
        assert xpk(pretended, "mae", *ARGUMENTS, **changes).returncode == 0
        command = flags(pretended.calls("xpk")[-1])["--command"]
        assert pretended.run("bash", "-c", command).returncode == 0
        words = pretended.calls("python")[-1]
        assert words == ["-m", "maskmim.train", "--coordinator", "auto", *ARGUMENTS]
    assert len(pretended.calls("pip")) == 1


def test_term_reaches_the_training_through_the_shell_that_xpk_starts(tmp_path):
    """xpk's container runs the command in a subshell and sends TERM to that alone."""
    pretended = Pretended(tmp_path)
    ready = tmp_path / "ready"
    pretended.program("pip", "")
    pretended.program(
        "python", f"trap 'exit 75' TERM\ntouch {ready}\nwhile :; do /bin/sleep 0.1; done"
    )
    xpk(pretended, "mae", *ARGUMENTS, DOCKER_IMAGE="")
    command = flags(pretended.calls("xpk")[0])["--command"]
    outer = f"( {command} ) & trap 'kill -TERM $!' TERM; while ! wait $!; do\n"
    outer += "kill -0 $! 2>/dev/null || { wait $!; exit; }; done"
    started = subprocess.Popen(["bash", "-c", outer], env=pretended.environment())
    while not ready.exists():
        time.sleep(0.02)
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=30) == 75


def test_a_dry_run_shows_the_command_of_xpk(tmp_path):
    pretended = Pretended(tmp_path)
    found = xpk(pretended, "--dry-run", "mae", *ARGUMENTS)
    assert found.returncode == 0 and not pretended.calls("xpk")
    assert xpk(pretended, "mae", *ARGUMENTS).returncode == 0
    assert shlex.split(found.stdout) == ["xpk", *pretended.calls("xpk")[0]]


@pytest.mark.parametrize("nodes", [1, 2])
def test_sky_runs_the_training_with_the_arguments_as_they_are(nodes, tmp_path):
    pretended = Pretended(tmp_path)
    task = yaml.safe_load((ROOT / "launch" / "sky.yaml").read_text())
    assert "-m venv .venv" in task["setup"]
    run = task["run"].replace(".venv/bin/python", str(pretended.trainer(1, 0)))
    told = {"SKYPILOT_NUM_NODES": str(nodes), "SKYPILOT_NODE_RANK": "1"}
    told |= {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "ARGUMENTS": shlex.join(ARGUMENTS)}
    assert pretended.run("bash", "-c", run, **told).returncode == 0
    place = ["--coordinator", "10.0.0.1:4321", "--processes", "2", "--process", "1"]
    expected = ["-m", "maskmim.train", *ARGUMENTS, *(place if nodes > 1 else [])]
    assert pretended.calls("trainer") == [expected, expected]  # the first one crashed
