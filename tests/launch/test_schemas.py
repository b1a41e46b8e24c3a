"""The YAML files: fields that exist, values that do what the scripts' contract says."""

import copy
import json
import math
import os
from collections.abc import Iterator

import jsonschema
import pytest
import yaml
from jax._src.clusters import cloud_tpu_cluster

from maskmim.config.command_line import command_line
from tests.launch import contract
from tests.running import ROOT

SCHEMAS = {"gke_jobset.yaml": "jobset.json", "sky.yaml": "sky_task.json"}


def document(name):
    return yaml.safe_load((ROOT / "launch" / name).read_text())


def schema(name):
    return json.loads((ROOT / "tests" / "launch" / "schemas" / SCHEMAS[name]).read_text())


def faults(name, content):
    """Return what the schema says against a document, '' for nothing."""
    checker = jsonschema.Draft202012Validator(schema(name))
    return "; ".join(error.message for error in checker.iter_errors(content))


def places(node, path=()) -> Iterator[tuple]:
    """Return the paths of all keys of a document, those inside lists too."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if isinstance(node, dict):
            yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


# Below these the names are the user's: labels, machines, folders, variables, resources.
FREE = ("annotations", "nodeSelector", "limits", "file_mounts", "envs")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_exists_and_a_misspelt_one_is_seen(name):
    content = document(name)
    assert not faults(name, content)
    checked = [path for path in places(content) if path[-2:-1] not in [(key,) for key in FREE]]
    assert len(checked) > 10
    for path in checked:
        wrong = copy.deepcopy(content)
        section = wrong
        for step in path[:-1]:
            section = section[step]
        section[f"{path[-1]}s"] = section.pop(path[-1])
        assert f"'{path[-1]}s' was unexpected" in faults(name, wrong), path


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("gke_jobset.yaml", ("spec", "failurePolicy", "maxRestarts"), "50"),
        ("gke_jobset.yaml", ("spec", "failurePolicy", "rules", 0, "action"), "FailJob"),
        ("gke_jobset.yaml", ("metadata", "name"), "Mask MIM"),
        ("sky.yaml", ("resources", "use_spot"), "yes"),
        ("sky.yaml", ("resources", "job_recovery", "recover_on_exit_codes"), ["75"]),
        ("sky.yaml", ("file_mounts", "/runs", "mode"), "mount"),
    ],
)
def test_a_value_of_another_kind_is_seen(name, path, value):
    content = document(name)
    section = content
    for step in path[:-1]:
        section = section[step]
    section[path[-1]] = value
    assert faults(name, content)


def job():
    """Return the Job inside the JobSet, and its pod."""
    (replicated,) = document("gke_jobset.yaml")["spec"]["replicatedJobs"]
    found = replicated["template"]["spec"]
    return found, found["template"]["spec"]


def test_a_jobset_ends_where_the_table_says_no_and_else_starts_again():
    policy = document("gke_jobset.yaml")["spec"]["failurePolicy"]
    found, pod = job()
    (rule,) = found["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["operator"]) == ("FailJob", "In")
    assert set(rule["onExitCodes"]["values"]) == contract.saying("no") - {0}
    assert rule["onExitCodes"]["containerName"] == pod["containers"][0]["name"]
    # A Job that failed by that rule fails the set; what no rule names restarts it.
    (fails,) = policy["rules"]
    assert fails["action"] == "FailJobSet" and fails["onJobFailureReasons"] == ["PodFailurePolicy"]
    assert policy["maxRestarts"] >= 10
    # One pod that is gone must end the Job: the others cannot go on without it.
    assert found["backoffLimit"] == 0 and pod["restartPolicy"] == "Never"


def test_a_jobset_has_a_pod_for_each_host_with_its_ports_and_time_to_save():
    found, pod = job()
    (container,) = pod["containers"]
    shape = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    hosts = math.prod(map(int, shape.split("x"))) // chips
    assert found["parallelism"] == found["completions"] == hosts > 1
    ports = {port["containerPort"] for port in container["ports"]}
    assert ports == {8471, 8080, int(cloud_tpu_cluster.coordinator_port)}
    # A ViT-H/14 with AdamW's two moments in float32, on a volume that takes 100 MB a second.
    assert pod["terminationGracePeriodSeconds"] >= 632e6 * 3 * 4 / 100e6
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounted) == {volume["name"] for volume in pod["volumes"]}


def test_a_jobsets_command_is_one_that_the_training_takes(monkeypatch):
    monkeypatch.chdir(ROOT)
    (container,) = job()[1]["containers"]
    assert container["command"] == ["python", "-m", "maskmim.train"]
    flags = {name: "" for name in ("coordinator", "processes", "process")}
    options = command_line(container["args"], description=None, options=flags)
    assert options.coordinator == "auto"
    mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert any(options.workdir.is_relative_to(path) for path in mounted)


def test_sky_recovers_where_the_table_says_yes_and_else_leaves_it_to_the_machine(monkeypatch):
    monkeypatch.chdir(ROOT)
    task = document("sky.yaml")
    recovery = task["resources"]["job_recovery"]
    # 130 is a Ctrl-C, which nobody presses there.
    assert set(recovery["recover_on_exit_codes"]) == contract.saying("yes") - {130}
    # SkyPilot would count every code here, those that must not start again too.
    assert recovery["max_restarts_on_errors"] == 0
    assert "launch/local.sh" in task["run"]
    options = command_line(task["envs"]["ARGUMENTS"].split(), description=None)
    assert str(options.workdir).startswith("/runs/") and "/runs" in task["file_mounts"]


def resolved(node, root):
    """Return a schema's node with its reference followed."""
    while "$ref" in node:
        _, _, name = node["$ref"].rpartition("/")
        node = root["$defs"][name] | {k: v for k, v in node.items() if k != "$ref"}
    return node


def disagreements(ours, whole, root, path="") -> Iterator[str]:
    """Yield the places where a reduced schema differs from the whole one."""
    ours = resolved(ours, root)
    if set(ours.get("required", ())) < set(whole.get("required", ())) and ours.get("properties"):
        yield f"{path}: requires {whole['required']}"
    if not set(ours.get("enum", ())) <= set(whole.get("enum", ours.get("enum", ()))):
        yield f"{path}: takes {whole['enum']}"
    if "const" not in ours and "type" in ours and isinstance(whole.get("type"), str):
        kinds = ours["type"] if isinstance(ours["type"], list) else [ours["type"]]
        if whole["type"] not in kinds:
            yield f"{path}: is of type {whole['type']}"
    if "items" in ours:
        yield from disagreements(ours["items"], whole["items"], root, f"{path}[]")
    if path == ".metadata":  # a definition leaves it to Kubernetes
        return
    for name, part in ours.get("properties", {}).items():
        if name not in whole.get("properties", {}):
            yield f"{path}: has no {name}"
        else:
            yield from disagreements(part, whole["properties"][name], root, f"{path}.{name}")


@pytest.mark.slow
@pytest.mark.skipif("JOBSET_CRD" not in os.environ, reason="JOBSET_CRD names no definition")
def test_the_reduced_schema_says_what_the_definition_says():
    with open(os.environ["JOBSET_CRD"], encoding="utf-8") as stream:
        definition = yaml.safe_load(stream)
    (version,) = definition["spec"]["versions"]
    whole = version["schema"]["openAPIV3Schema"]
    ours = schema("gke_jobset.yaml")
    assert not list(disagreements(ours, whole, ours))
    assert ours["properties"]["apiVersion"]["const"].endswith(f"/{version['name']}")
