"""Activations are constrained as docs/sharding.md says, and not at all without our mesh."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType

from maskmim.models.layers import constraints
from maskmim.training.sharding import AXES, ShardingError

BATCH = ("data", "fsdp")
AUTO = (AxisType.Auto,)


def shardings(function, *shapes, sizes=(2, 2, 4, 2)):
    """Return the sharding constraints of a function of arrays on a mesh of `sizes`, in order."""
    mesh = AbstractMesh(sizes, AXES, axis_types=AUTO * len(AXES))
    with jax.sharding.use_abstract_mesh(mesh):
        program = jax.make_jaxpr(function)(*map(jnp.zeros, shapes))
    constrained = [eqn for eqn in program.eqns if eqn.primitive.name == "sharding_constraint"]
    return [plain(eqn.params["sharding"].spec, eqn.invars[0].aval.ndim) for eqn in constrained]


def plain(spec, dimensions):
    """Return a PartitionSpec with None for every whole dimension and a single axis by its name."""
    axes_of = [axes[0] if isinstance(axes, tuple) and len(axes) == 1 else axes for axes in spec]
    return (*axes_of, *(None,) * (dimensions - len(axes_of)))


@pytest.mark.parametrize(
    "mesh",
    [
        AbstractMesh((1,) * 4, AXES, axis_types=AUTO * 4),
        AbstractMesh((8,), ("rows",), axis_types=AUTO),
        AbstractMesh((8,), ("data",), axis_types=(AxisType.Explicit,)),
    ],
)
def test_nothing_is_constrained_without_our_mesh(mesh):
    x = jnp.ones((8, 16, 32))
    with jax.sharding.use_abstract_mesh(mesh):
        assert constraints.constrain_tokens(x) is x
        assert constraints.constrain_examples(x) is x
        assert constraints.constrain_outputs(x) is x
    assert constraints.constrain_tokens(x) is x


def test_shardings_of_activations():
    shape = 8, 16, 32
    assert shardings(constraints.constrain_examples, shape) == [(BATCH, None, None)]
    assert shardings(constraints.constrain_tokens, shape) == [(BATCH, "sequence", None)]
    assert shardings(constraints.constrain_channels, shape) == [(BATCH, None, "sequence")]
    assert shardings(constraints.constrain_outputs, shape) == [(BATCH, "sequence", "tensor")]
    assert shardings(constraints.constrain_tokens, shape, sizes=(4, 1, 1, 2)) == [
        ("data", None, None)
    ]


def test_lengths_that_do_not_divide():
    assert shardings(constraints.constrain_tokens, (8, 17, 32)) == [(BATCH, "sequence", None)]
    assert shardings(constraints.constrain_tokens, (8, 4, 32)) == [(BATCH, "sequence", None)]
    assert shardings(constraints.constrain_tokens, (8, 3, 32)) == [(BATCH, None, None)]
    assert shardings(constraints.constrain_channels, (8, 17, 30)) == [(BATCH, None, None)]
    assert shardings(constraints.constrain_tokens, (6, 16, 32)) == [(None, "sequence", None)]


def test_attention_is_split_by_head_where_heads_divide_and_has_all_keys_where_not():
    shape = (4, 8, 16, 2)
    tokens = (BATCH, "tensor", "sequence", None)
    heads = (BATCH, ("tensor", "sequence"), None, None)
    assert shardings(constraints.constrain_qkv, shape, shape, shape) == [tokens] * 3 + [heads] * 3
    assert shardings(constraints.constrain_attended, shape) == [heads, tokens]
    shape = (4, 6, 16, 2)
    whole = (BATCH, "tensor", None, None)
    assert shardings(constraints.constrain_qkv, shape, shape, shape) == [tokens] * 3 + [whole] * 2
    assert shardings(constraints.constrain_attended, shape) == [tokens]


def test_no_two_devices_have_the_same_part_of_a_depthwise_convolution():
    """Compiled gradients of the kernel are wrong otherwise, see `constrain_depthwise`."""
    assert shardings(constraints.constrain_depthwise, (8, 4, 4, 32)) == [
        (BATCH, None, None, ("sequence", "tensor"))
    ]
    with pytest.raises(ShardingError, match="= 8 does not divide the 12 channels"):
        shardings(constraints.constrain_depthwise, (8, 4, 4, 12))
    x = jnp.ones((8, 4, 4, 12))
    assert constraints.constrain_depthwise(x) is x


def test_token_functions_equal_plain_indexing():
    x = jax.random.normal(jax.random.key(0), (2, 5, 3))
    first, others = constraints.split_tokens(x, 2)
    assert jnp.array_equal(first, x[:, :2]) and jnp.array_equal(others, x[:, 2:])
    assert jnp.array_equal(constraints.concat_tokens(first, others), x)
    assert jnp.array_equal(
        constraints.select_tokens(x, jnp.array([[4, 0], [1, 1]])), x[[[0], [1]], [[4, 0], [1, 1]]]
    )
    assert jnp.array_equal(constraints.embed_tokens(lambda y: 2 * y, x), 2 * x)
