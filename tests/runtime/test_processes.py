"""Finding each other: what launchers and flags say, and what is wrong with them."""

import pytest

from maskmim.runtime.processes import AUTO, HostsError, Place, missing_in, place_of, started_by


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
def test_launchers_are_known_by_their_variables(environment, launcher):
    assert started_by(environment) == launcher


def test_flags_say_where():
    assert place_of(None, None, None) is None
    assert place_of("10.0.0.1:4321", "4", "3") == Place("10.0.0.1:4321", 4, 3)
    assert place_of("auto", None, None) == Place(AUTO, 0, 0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("a:1", None, "0"), "--processes missing"),
        ((None, "2", "0"), "--coordinator missing"),
        (("a:1", "2", "2"), "--process 2 of --processes 2: numbers from 0 to one below"),
        (("a:1", "two", "0"), "numbers from 0"),
        (("a", "2", "0"), "an address with a port"),
    ],
)
def test_flags_that_cannot_be(flags, message):
    with pytest.raises(HostsError, match=message):
        place_of(*flags)


def test_who_is_missing_is_read_from_the_coordination_service():
    told = "Barrier timed out.\n# of tasks: 1/3.\nSome timed out task names:\n1\n2\n\n\nRPC: /xla"
    assert missing_in(told) == ["1", "2"]
    assert missing_in("timed out task names:\n/job:jax_worker/replica:0/task:3\n\n") == ["3"]
    assert missing_in("something else") == []
