"""Prints, as JSON, what plans say on 8 virtual devices; run as a process with one word.

collectives: those of small programs. plans: whole plans of a tiny training. largest: the search for
the largest batch.
"""

import contextlib
import io
import json
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from maskmim import plan
from maskmim.config.load import load
from maskmim.planning import collectives, compiled, hlo
from maskmim.planning.topology import load_topology

TINY = "configs/colormae.py:tiny"
ROWS = jax.ShapeDtypeStruct((64, 16), jnp.float32)  # 8 rows a device, 512 bytes


def summing(x, axes=("a", "b")):
    return lax.psum(x, axes)


def thrice_and_four(x):
    """Sums in a loop of 3, and in a loop of 4 inside it."""

    def inner(x, _):
        return lax.psum(jnp.sin(x), "b") * 0.1, None

    def outer(x, _):
        x, _ = lax.scan(inner, x, length=4)
        return lax.psum(jnp.cos(x), "a"), None

    return lax.scan(outer, x, length=3)[0]


def until_small(x):
    """A loop whose iterations depend on the data."""
    return lax.while_loop(lambda x: jnp.sum(x) > 1.0, lambda x: lax.psum(x, ("a", "b")) * 0.001, x)


def either(x):
    """A branch with a sum, and one without."""
    return lax.cond(x[0, 0] > 0, lambda x: lax.psum(x, "b"), lambda x: x * 2, x)


PROGRAMS = {
    "sum": summing,
    "sum over a": partial(summing, axes="a"),
    "gather": lambda x: lax.all_gather(x, "b", tiled=True),
    "scatter": lambda x: lax.psum_scatter(x, "b", tiled=True),
    "exchange": lambda x: lax.all_to_all(x, "b", split_axis=1, concat_axis=0, tiled=True),
    "hand on": lambda x: lax.ppermute(x, "b", [(i, (i + 1) % 4) for i in range(4)]),
    "alone": lambda x: x + 1,
    "loops": thrice_and_four,
    "unknown loop": until_small,
    "branches": either,
}


def found_in(function):
    """[kind, payload, group, times] of each collective, and the loops of unknown length."""
    mesh = Mesh(np.array(jax.devices()).reshape(2, 4), ("a", "b"))
    spec = PartitionSpec(("a", "b"))
    mapped = jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    rows = NamedSharding(mesh, spec)
    compiled = jax.jit(mapped, in_shardings=rows).lower(ROWS).compile()
    program = hlo.parse_program(compiled.as_text())
    runs = hlo.count_executions(program)
    sent = collectives.find_collectives(program, runs, 8)
    return {"found": [[*each] for each in sent], "unknown": runs.unknown}


def planned(*flags):
    """What the command prints of a tiny training on 8 assumed GPUs."""
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        assert plan.main([f"--config={TINY}", "--topology=h100:8", *flags]) == 0
    return written.getvalue()


def largest_on_small_chips(memory):
    """The text on the largest batch where a chip has so many bytes, and the bytes that 8 take."""
    config = load(TINY, ["train.batch_size=8"])
    topology = load_topology("h100:8")
    topology = topology._replace(chip=topology.chip._replace(memory=memory))
    parts = compiled.assemble_for(config, topology)
    step = compiled.compile_step(config, parts, topology)
    return plan.find_largest_batch(config, parts, topology, step), compiled.bytes_used(step)


def two_plans():
    """The plan with whole weights and the one with weights split over 4 chips."""
    split = ("--config.mesh.data=2", "--config.mesh.fsdp=4", "--config.model.compute.remat=full")
    return {
        "plan": planned("--decode-rate=500"),
        "plan split": planned("--decode-rate=500", "--parameters", *split),
    }


SAID = {
    "collectives": lambda: {name: found_in(function) for name, function in PROGRAMS.items()},
    "plans": two_plans,
    "largest": lambda: largest_on_small_chips(3_000_000),
}

if __name__ == "__main__":
    json.dump(SAID[sys.argv[1]](), sys.stdout)
