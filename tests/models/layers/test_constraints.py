"""Activations are pinned where docs/sharding.md says, and nowhere without a mesh of ours."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType

from maskmim.models.layers import constraints
from maskmim.training.sharding import AXES, ShardingError

BATCH = ("data", "fsdp")
AUTO = (AxisType.Auto,)


def pins(function, *shapes, sizes=(2, 2, 4, 2)):
    """The places that a function of arrays pins them to, on a mesh of such sizes, in order."""
    mesh = AbstractMesh(sizes, AXES, axis_types=AUTO * len(AXES))
    with jax.sharding.use_abstract_mesh(mesh):
        program = jax.make_jaxpr(function)(*map(jnp.zeros, shapes))
    found = [eqn for eqn in program.eqns if eqn.primitive.name == "sharding_constraint"]
    return [plain(eqn.params["sharding"].spec, eqn.invars[0].aval.ndim) for eqn in found]


def plain(places, dimensions):
    """A PartitionSpec with None for every dimension that is whole, one axis by its name."""
    every = [axes[0] if isinstance(axes, tuple) and len(axes) == 1 else axes for axes in places]
    return (*every, *(None,) * (dimensions - len(every)))


@pytest.mark.parametrize(
    "mesh",
    [
        AbstractMesh((1,) * 4, AXES, axis_types=AUTO * 4),
        AbstractMesh((8,), ("rows",), axis_types=AUTO),
        AbstractMesh((8,), ("data",), axis_types=(AxisType.Explicit,)),
    ],
)
def test_nothing_is_pinned_without_a_mesh_of_ours(mesh):
    x = jnp.ones((8, 16, 32))
    with jax.sharding.use_abstract_mesh(mesh):
        assert constraints.tokens(x) is constraints.examples(x) is constraints.values(x) is x
    assert constraints.tokens(x) is x


def test_the_places():
    shape = 8, 16, 32
    assert pins(constraints.examples, shape) == [(BATCH, None, None)]
    assert pins(constraints.tokens, shape) == [(BATCH, "sequence", None)]
    assert pins(constraints.channels, shape) == [(BATCH, None, "sequence")]
    assert pins(constraints.values, shape) == [(BATCH, "sequence", "tensor")]
    assert pins(constraints.tokens, shape, sizes=(4, 1, 1, 2)) == [("data", None, None)]


def test_lengths_that_do_not_divide():
    assert pins(constraints.tokens, (8, 17, 32)) == [(BATCH, "sequence", None)]
    assert pins(constraints.tokens, (8, 4, 32)) == [(BATCH, "sequence", None)]
    assert pins(constraints.tokens, (8, 3, 32)) == [(BATCH, None, None)]
    assert pins(constraints.channels, (8, 17, 30)) == [(BATCH, None, None)]
    assert pins(constraints.tokens, (6, 16, 32)) == [(None, "sequence", None)]


def test_attention_has_heads_of_its_own_where_they_divide_and_all_keys_where_not():
    shape = (4, 8, 16, 2)
    tokens = (BATCH, "tensor", "sequence", None)
    heads = (BATCH, ("tensor", "sequence"), None, None)
    assert pins(constraints.for_attention, shape, shape, shape) == [tokens] * 3 + [heads] * 3
    assert pins(constraints.from_attention, shape) == [heads, tokens]
    shape = (4, 6, 16, 2)
    whole = (BATCH, "tensor", None, None)
    assert pins(constraints.for_attention, shape, shape, shape) == [tokens] * 3 + [whole] * 2
    assert pins(constraints.from_attention, shape) == [tokens]


def test_no_two_devices_have_the_same_part_of_a_depthwise_convolution():
    """Else its kernel's gradient is multiplied, see `placed.by_channel`."""
    assert pins(constraints.by_channel, (8, 4, 4, 32)) == [
        (BATCH, None, None, ("sequence", "tensor"))
    ]
    with pytest.raises(ShardingError, match="= 8 does not divide the 12 channels"):
        pins(constraints.by_channel, (8, 4, 4, 12))
    x = jnp.ones((8, 4, 4, 12))
    assert constraints.by_channel(x) is x


def test_the_functions_of_tokens_are_what_they_say():
    x = jax.random.normal(jax.random.key(0), (2, 5, 3))
    first, others = constraints.parted(x, 2)
    assert jnp.array_equal(first, x[:, :2]) and jnp.array_equal(others, x[:, 2:])
    assert jnp.array_equal(constraints.joined(first, others), x)
    assert jnp.array_equal(
        constraints.chosen(x, jnp.array([[4, 0], [1, 1]])), x[[[0], [1]], [[4, 0], [1, 1]]]
    )
    assert jnp.array_equal(constraints.embedded(lambda y: 2 * y, x), 2 * x)
