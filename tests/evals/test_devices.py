"""Evaluators on several devices, in a subprocess because the number is fixed at start."""

from __future__ import annotations

from tests.running import run_on_eight_devices

SCRIPT = """
import functools
import jax, jax.numpy as jnp, numpy as np
from maskmim.training import sharding
from maskmim.evals.features import Split, extract, pooled_encoder
from maskmim.evals.knn import knn
from maskmim.evals.linear_probe import linear_probe
from maskmim.types import Encoded
from tests.evals.planted import clusters
from tests.evals.test_features import batches_of, pictures

assert len(jax.devices()) == 8
mesh = sharding.make_mesh({"data": 4, "fsdp": 2, "tensor": 1})
place = sharding.by_example(mesh)

def encode(variables, batch):
    tokens = batch["image"].astype(jnp.float32).reshape(len(batch["image"]), -1, 3)
    return Encoded(tokens[:, :1], tokens * variables)

images, labels = pictures(21)
spread = functools.partial(pooled_encoder(encode, pooling="mean", place=place), jnp.float32(2))
output = spread({"image": images[:16]})
assert output.sharding.is_fully_replicated and len(output.sharding.device_set) == 8
found = extract(spread, batches_of(images, labels, 8))
np.testing.assert_allclose(found.features, 2 * images.mean(axis=(1, 2)), rtol=1e-5)

def laid(split):
    return Split(jax.device_put(split.features, place), split.labels)

data = clusters(noise=2.0)
on_mesh = data._replace(train=laid(data.train), test=laid(data.test))
quick = functools.partial(linear_probe, base_lrs=(10.0,), epochs=4, warmup_epochs=1)
for probe in (knn, quick):
    one, eight = dict(probe(data)), dict(probe(on_mesh))
    assert one.keys() == eight.keys()
    for name in one:
        assert abs(one[name] - eight[name]) <= 2 / 600, (name, one[name], eight[name])
print("same on eight devices")
"""


def test_eight_devices_give_the_results_of_one():
    printed = run_on_eight_devices(SCRIPT, seconds=120)
    assert "same on eight devices" in printed
