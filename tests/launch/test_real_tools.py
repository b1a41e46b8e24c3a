"""The commands that the launch scripts give to gcloud, xpk and SkyPilot, parsed by these tools.

Each test is skipped where its program is not in PATH. None of them reaches a network: gcloud has no
account in an empty folder, xpk only writes what it would submit, SkyPilot only reads the task.
"""

import json
import shutil
import subprocess

import jsonschema
import pytest
import yaml

from tests.launch import contract
from tests.launch.pretend import Pretended
from tests.launch.test_clouds import ARGUMENTS, CLUSTER, SLICE
from tests.running import ROOT, environment

pytestmark = pytest.mark.slow


def needs(program):
    absent = shutil.which(program) is None
    return pytest.mark.skipif(absent, reason=f"{program} is not installed")


def parsed(words, folder):
    """Return gcloud's exit code and message for arguments, which it cannot carry out."""
    result = subprocess.run(
        ["gcloud", *words],
        env=environment(CLOUDSDK_CONFIG=str(folder), CLOUDSDK_CORE_DISABLE_PROMPTS="1"),
        capture_output=True,
        text=True,
    )
    return result.returncode, result.stderr


@needs("gcloud")
def test_gcloud_takes_every_command_of_tpu_vm(tmp_path):
    made = Pretended(tmp_path)
    made.program("gcloud", "[[ $4 == describe ]] && echo ACTIVE; true")
    asked = {**SLICE, "SPOT": "1", "PROJECT": "mine"}
    for action in ("create", "wait", "setup", "logs", "stop", "delete"):
        assert made.run("launch/tpu_vm.sh", action, **asked).returncode == 0
    assert made.run("launch/tpu_vm.sh", "train", *ARGUMENTS, **asked).returncode == 0
    calls = made.calls("gcloud")
    assert len(calls) == 8
    for words in calls:
        code, message = parsed(words, tmp_path / "account")
        # 2 is what gcloud leaves with where it cannot read its words.
        assert code == 1 and "do not currently have an active account" in message, (words, message)
    wrong = [word.replace("--spot", "--spott") for word in calls[0]]
    code, message = parsed(wrong, tmp_path / "account")
    assert code == 2 and "unrecognized arguments" in message


@needs("xpk")
def test_xpk_makes_a_jobset_that_starts_again_where_the_table_does_not_say_no(tmp_path):
    made = Pretended(tmp_path)
    manifest = tmp_path / "jobset.yaml"
    dry = f"--dry-run --skip-validation --output-manifest-file={manifest}"
    made.program("xpk", f'HOME={tmp_path} exec {shutil.which("xpk")} "$@" {dry}')
    asked = {**CLUSTER, "PROJECT": "mine", "GRACE": "150"}
    found = made.run("launch/xpk.sh", "mae", *ARGUMENTS, **asked)
    assert found.returncode == 0, found.stdout + found.stderr
    jobset = yaml.safe_load(manifest.read_text())
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["operator"]) == ("FailJob", "NotIn")
    assert set(contract.answers()) & set(rule["onExitCodes"]["values"]) == contract.saying(
        "yes", "perhaps"
    )
    pod = job["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 150
    (container,) = pod["containers"]
    assert "(exec python -m maskmim.train --coordinator auto" in container["command"][2]
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] == 50


READ_TASK = """
import json, sys, sky
from sky.utils import schemas
task = sky.Task.from_yaml(sys.argv[1])
(resources,) = task.resources
print(json.dumps([schemas.get_task_schema(), schemas.get_resources_schema(), task.num_nodes,
                  resources.use_spot, resources.job_recovery]))
"""


@needs("sky")
def test_skypilot_takes_the_task_and_has_the_fields_of_the_reduced_schema(tmp_path):
    """An interpreter beside the command reads the task, whatever environment the tests are in."""
    with open(shutil.which("sky"), encoding="utf-8") as stream:
        interpreter = stream.readline().removeprefix("#!").strip()
    found = subprocess.run(
        [interpreter, "-c", READ_TASK, str(ROOT / "launch" / "sky.yaml")],
        env=environment(HOME=str(tmp_path), PYTHONPATH=""),
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    whole, machines, nodes, spot, recovery = json.loads(found.stdout.splitlines()[-1])
    assert (nodes, spot) == (1, True)
    assert set(recovery["recover_on_exit_codes"]) == contract.saying("yes") - {130}
    reduced = json.loads((ROOT / "tests/launch/schemas/sky_task.json").read_text())["properties"]
    assert reduced.keys() <= whole["properties"].keys()
    assert reduced["resources"]["properties"].keys() <= machines["properties"].keys()
    task = yaml.safe_load((ROOT / "launch" / "sky.yaml").read_text())
    jsonschema.Draft202012Validator(whole).validate(task)
