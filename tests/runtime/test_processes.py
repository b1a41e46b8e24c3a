"""Launchers and flags that tell processes where to meet, and errors in them."""

from types import SimpleNamespace

import jax
import pytest

from maskmim.runtime.processes import (
    AUTO,
    DeviceError,
    JoinError,
    Rendezvous,
    check_devices,
    detect_launcher,
    late_processes,
    parse_rendezvous,
)


@pytest.mark.parametrize(
    ("environment", "launcher"),
    [
        ({}, ""),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, ""),
        ({"SLURM_STEP_NUM_TASKS": "4"}, "SLURM"),
        ({"SLURM_STEP_NUM_TASKS": "1"}, ""),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "Open MPI"),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, "TPU workers"),
        ({"TPU_WORKER_HOSTNAMES": "a"}, ""),
        ({"MEGASCALE_NUM_SLICES": "2"}, "TPU slices"),
    ],
)
def test_launchers_are_detected_by_their_variables(environment, launcher):
    assert detect_launcher(environment) == launcher


def test_flags_give_the_rendezvous():
    assert parse_rendezvous(None, None, None) is None
    assert parse_rendezvous("10.0.0.1:4321", "4", "3") == Rendezvous("10.0.0.1:4321", 4, 3)
    assert parse_rendezvous("auto", None, None) == Rendezvous(AUTO, 0, 0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("a:1", None, "0"), "--processes missing"),
        ((None, "2", "0"), "--coordinator missing"),
        (("a:1", "2", "2"), "--process 2 of --processes 2: numbers from 0 to one below"),
        (("a:1", "two", "0"), "numbers from 0"),
        (("a", "2", "0"), "give an address with a port"),
    ],
)
def test_flags_that_cannot_be(flags, message):
    with pytest.raises(JoinError, match=message):
        parse_rendezvous(*flags)


def test_who_is_missing_is_read_from_the_coordination_service():
    error = "Barrier timed out.\n# of tasks: 1/3.\nSome timed out task names:\n1\n2\n\n\nRPC: /xla"
    assert late_processes(error) == ["1", "2"]
    assert late_processes("timed out task names:\n/job:jax_worker/replica:0/task:3\n\n") == ["3"]
    assert late_processes("something else") == []


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ("cuda", AssertionError(), ["JAX_PLATFORMS=cuda", "JAX_PLATFORMS=cpu", "jax[cuda13]"]),
        ("tpu", RuntimeError("no libtpu (set JAX_PLATFORMS='')"), ["(no libtpu)", "jax[tpu]"]),
        ("cpus", RuntimeError("unknown"), ["JAX_PLATFORMS=cpus", "(unknown)"]),
        ("", RuntimeError("broken"), ["jax finds no device (broken)"]),
    ],
)
def test_devices_that_are_not_here_are_a_sentence(monkeypatch, asked, error, words):
    def fails():
        raise error

    monkeypatch.setattr(jax, "devices", fails)
    monkeypatch.setattr(jax, "config", SimpleNamespace(jax_platforms=asked))
    with pytest.raises(DeviceError) as told:
        check_devices()
    assert all(word in str(told.value) for word in words)
