"""Dense measures on several devices, in a subprocess because the number is fixed at start."""

from __future__ import annotations

import pytest

from tests.running import run_on_eight_devices

SCRIPT = """
from functools import partial
import jax, numpy as np
from maskmim.evals.dense.depth import depth
from maskmim.evals.dense.in_context import in_context
from maskmim.evals.dense.segmentation import segmentation
from maskmim.evals.dense.trained_head import trained_head
from maskmim.evals.measures import run_measures
from maskmim.training import sharding
from tests.compiling import quick_jit
from tests.evals.dense.made import painted_classes, painted_depth
from tests.evals.small import trained_on
from tests.tiny import tiny_method

assert len(jax.devices()) == 8
method = tiny_method()
start = jax.device_get(quick_jit(method.variables)(jax.random.key(0)))
quick = {"steps": 6, "lr": 0.03, "batch_size": 8}
near = partial(in_context, k=5, memory=128, batch_size=5, query_chunk=7)
bricks = {
    "classes_near": partial(segmentation, name="near", data=painted_classes(), learner=near),
    "classes_head": partial(
        segmentation, name="head", data=painted_classes(), learner=partial(trained_head, **quick)
    ),
    "depth_near": partial(depth, name="near", data=painted_depth(), learner=near),
    "depth_head": partial(
        depth, name="head", data=painted_depth(), learner=partial(trained_head, **quick),
        layers=(0.5, 1.0),
    ),
}

def measured(sizes, devices):
    mesh = sharding.make_mesh(sizes, devices)
    placed = sharding.tree_shardings(start.params, sharding.transformer(), mesh)
    params = jax.device_put(start.params, placed)
    extra, frozen = jax.device_put((start.extra, start.frozen), sharding.replicated(mesh))
    variables = start._replace(params=params, extra=extra, frozen=frozen)
    given = {"variables": variables, "before": lambda: variables, "mesh": mesh}
    found = run_measures(trained_on(method=method, **given), bricks)
    assert not found.failed and not found.skipped, found
    return found.metrics

one = measured({"data": 1}, jax.devices()[:1])
eight = measured({"data": 2, "fsdp": 2, "tensor": 2}, jax.devices())
assert one.keys() == eight.keys() and len(one) == 4 * 3 * 3
for name, value in one.items():
    np.testing.assert_allclose(eight[name], value, atol=2e-3, err_msg=name)
print("same on eight devices")
"""


@pytest.mark.full
def test_eight_devices_give_the_results_of_one():
    printed = run_on_eight_devices(SCRIPT, seconds=240)
    assert "same on eight devices" in printed
