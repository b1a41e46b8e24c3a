"""Time by kind of operation: from a profiler's trace, without counting nested operations twice."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.operations import KINDS, OTHER, Event, kind_of, own_times, time_by_kind


def test_time_inside_an_operation_counts_once():
    events = [
        Event("while.1", 0, 100),
        Event("dot.2", 10, 30),
        Event("call.3", 40, 90),
        Event("copy.4", 50, 60),
        Event("dot.5", 100, 110),
    ]
    times = dict(own_times(reversed(events)))
    assert times == {"while.1": 30, "dot.2": 20, "call.3": 40, "copy.4": 10, "dot.5": 10}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ynn_fusion.12", "products in YNNPACK"),
        ("dot_general.3", "products in Eigen"),
        ("wrapped_broadcast.2", "stacks of the loop: filled"),
        ("bitcast_dynamic-update-slice_fusion.1", "stacks of the loop: written"),
        ("transpose_copy_fusion", "copies, transpositions"),
        ("negate_exponential_fusion.1", OTHER),
    ],
)
def test_kinds_are_told_by_names(name, kind):
    assert kind_of(name) == kind and kind in (*KINDS, OTHER)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="names of XLA's CPU compiler")
def test_a_sort_is_found_in_a_trace():
    sort = jax.jit(lambda x: jnp.sort(x, axis=-1))
    x = jax.random.normal(jax.random.key(0), (64, 512))
    sort(x).block_until_ready()
    seconds = time_by_kind(lambda: sort(x).block_until_ready(), 2)
    assert seconds["sorts and gathers"] > 0
