"""Collectives of compiled programs against programs whose collectives are known by hand."""

from pathlib import Path

import pytest

from maskmim.planning import collectives, hlo, traffic
from maskmim.planning.collectives import Collective, first_group, usable_links

OWN = 8 * 16 * 4  # bytes of a device's rows in on_eight
EVERY, AXIS_A, AXIS_B = [*range(8)], [0, 4], [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "kind", "payload", "group"),
    [
        ("sum", "all-reduce", OWN, EVERY),
        ("sum over a", "all-reduce", OWN, AXIS_A),
        ("gather", "all-gather", 4 * OWN, AXIS_B),
        ("scatter", "reduce-scatter", OWN, AXIS_B),
        ("exchange", "all-to-all", OWN, AXIS_B),
        ("hand on", "collective-permute", OWN, [0, 1]),
    ],
)
def test_one_collective_by_hand(eight, name, kind, payload, group):
    assert eight[name] == {"found": [[kind, payload, group, 1]], "unknown": 0}


def test_nothing_is_sent_where_nothing_is_shared(eight):
    assert eight["alone"]["found"] == []


def test_loops_count_as_often_as_they_run(eight):
    found = sorted(eight["loops"]["found"], key=lambda each: each[3])
    assert found == [["all-reduce", OWN, AXIS_A, 3], ["all-reduce", OWN, AXIS_B, 12]]
    assert eight["loops"]["unknown"] == 0


def test_a_loop_of_unknown_length_is_reported_and_counts_once(eight):
    assert eight["unknown loop"]["unknown"] == 1
    assert ["all-reduce", OWN, EVERY, 1] in eight["unknown loop"]["found"]


def test_a_branch_counts_as_if_it_were_taken(eight):
    assert eight["branches"]["found"] == [["all-reduce", OWN, AXIS_B, 1]]


@pytest.fixture(scope="module")
def split_weights():
    """A TPU's program: 6 layers of 1024x1024 split over 4 of 8 chips, trained for a step."""
    text = (Path(__file__).parent / "fsdp_v5e.txt").read_text()
    program = hlo.parse_program(text)
    return program, hlo.count_executions(program)


def test_the_program_of_a_tpu_with_split_weights(split_weights):
    sums = collectives.sum_by_kind(collectives.find_collectives(*split_weights, 8))
    layer = 1024 * 1024
    # Forward and backward gather each layer in bfloat16, also where the gathering is spread over
    # several fusions; the gradient is summed in float32, within 4 chips and between the 2 halves.
    assert sums["all-gather"] == (12, 12 * layer * 2, 12 * layer * 2 * 3 / 4)
    assert sums["reduce-scatter"] == (6, 6 * layer * 4, 6 * layer * 4 * 3 / 4)
    assert sums["all-reduce"] == (6, 6 * layer, 6 * layer)
    assert list(sums) == ["all-reduce", "all-gather", "reduce-scatter"]


def test_hbm_traffic_of_the_program_of_a_tpu(split_weights):
    # Everything but the weights and the images stays on the chip: weights are read to be used and
    # to be updated, and written; a chip has a quarter of them and 32 rows of images.
    weights, images = 6 * 256 * 1024 * 4, 32 * 1024 * 4
    assert traffic.hbm_bytes(*split_weights) == pytest.approx(3 * weights + images, abs=1024)


def test_what_a_chip_sends():
    ring = tuple(range(4))
    assert Collective("all-reduce", 1000, ring, 1).sent == 1500
    assert Collective("all-gather", 1000, ring, 1).sent == 750
    assert Collective("reduce-scatter", 1000, ring, 1).sent == 750
    assert Collective("all-to-all", 1000, ring, 1).sent == 750
    assert Collective("collective-permute", 1000, (0, 1), 1).sent == 1000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("channel_id=1, replica_groups={{0,2},{1,3},{4,6},{5,7}}, use", (0, 2)),
        ("replica_groups=[2,4]<=[8], use", (0, 1, 2, 3)),
        ("replica_groups=[4,2]<=[2,4]T(1,0), use", (0, 4)),
        ("replica_groups=mesh['x'=2,'y'=4] {'y'}, use", (0, 1, 2, 3)),
        ("replica_groups=mesh['x'=2,'y'=4] {'x'}, use", (0, 4)),
        ("replica_groups=mesh['x'=2,'y'=2,'z'=2] {'x','z'}, use", (0, 1, 4, 5)),
        ("replica_groups=mesh['x'=4,'y'=2], device_ids=([2,4]T(1,0)) {'y'}, use", (0, 4)),
        ("replica_groups=mesh['x'=4,'y'=2], device_ids=([2,4]T(1,0)) {'x'}, use", (0, 1, 2, 3)),
        ("replica_groups=mesh['x'=2,'y'=4], device_ids=(7,6,5,4,3,2,1,0) {'y'}", (7, 6, 5, 4)),
        ("replica_groups={}, use", tuple(range(8))),
        ("to_apply=%add", tuple(range(8))),
    ],
)
def test_groups_in_every_form(text, expected):
    assert first_group(text, 8) == expected


def test_an_unknown_form_of_groups_is_an_error():
    with pytest.raises(ValueError, match="unknown form"):
        first_group("replica_groups=something(3)", 8)


def test_links_of_a_group_in_a_torus():
    whole = [(x, y) for x in range(16) for y in range(16)]
    row = [(0, y) for y in range(16)]
    closed = (True, True)
    assert usable_links(whole, (16, 16), closed) == 4
    assert usable_links(row, (16, 16), closed) == 2
    assert usable_links(row[:8], (16, 16), closed) == 1  # half a ring is a line
    assert usable_links(whole, (16, 16), (False, True)) == 3
    assert usable_links([(0, 0), (0, 1)], (2, 2), closed) == 1  # two neighbours have one link
    assert usable_links([(0, 0)], (2, 2), closed) == 1
