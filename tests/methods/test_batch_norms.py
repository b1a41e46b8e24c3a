"""A network with batch norms through `masked`: its averages follow training and evaluation reads
them, after a restart too, and a bad step leaves them."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from maskmim.checkpoints.writer import Checkpoints
from maskmim.models.layers.errors import ModelError
from maskmim.models.running_norms import NORMS, refuse_norms, updated_norms, with_norms
from maskmim.teachers.average import average
from maskmim.teachers.features import last_tokens
from maskmim.teachers.momentum import constant
from maskmim.training.averaged import averaged
from maskmim.training.train_step import make_train_step
from maskmim.types import Randomness, Variables
from tests.models.tiny_conv import tiny_conv, tiny_conv_method
from tests.tiny import begin, pictures, tiny_method
from tests.tolerances import PARITY, REORDERED

pytestmark = pytest.mark.full

STEPS = 4


def batch(number, bad=False):
    images = pictures(8, number)
    return {"image": images.astype(np.float32) * np.nan if bad else images}


def train(method, steps=range(STEPS), state=None, micro_batches=1, bad=()):
    """Return the states after each of the steps."""
    optimiser = optax.sgd(0.1)
    first, frozen = begin(method, optimiser)
    states = [first if state is None else state]
    step = jax.jit(
        make_train_step(method, optimiser, seed=0, total_steps=STEPS, micro_batches=micro_batches)
    )
    for number in steps:
        states.append(step(states[-1], frozen, batch(number, number in bad))[0])
    return states


@pytest.fixture(scope="module")
def trained():
    return train(tiny_conv_method())


def variables_of(state):
    return Variables(state.params, state.extra, {})


def close(ours, theirs):
    theirs = np.asarray(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=PARITY * np.abs(theirs).max())


def first_convolution(method, state, number):
    """What enters the first norm in a step, computed apart: f32[B, 4, 3, 16]."""
    net, params = method.net, state.params["encoder"]
    key = jax.random.fold_in(jax.random.key(0), number)
    drawn = method.apply["mask"](variables_of(state), batch(number), Randomness.of(key, 8))
    patches = np.asarray(net.patchify(drawn["inputs"]))
    x = patches @ np.asarray(params["embed"]["kernel"]) + np.asarray(params["embed"]["bias"])
    hidden = np.asarray(drawn["mask"].hidden)[..., None]
    x = np.where(hidden, np.asarray(params["mask_token"]), x).reshape(8, 4, 3, -1)
    conv = torch.nn.Conv2d(16, 16, 3, padding=1)
    with torch.no_grad():
        kernel = np.array(params["conv_0"]["kernel"]).transpose(3, 2, 0, 1)
        conv.weight.copy_(torch.tensor(kernel))
        conv.bias.copy_(torch.tensor(np.array(params["conv_0"]["bias"])))
        return conv(torch.tensor(x, dtype=torch.float32).permute(0, 3, 1, 2))


def test_the_averages_are_those_of_torch_after_several_steps(trained):
    method, norm = tiny_conv_method(), torch.nn.BatchNorm2d(16)
    for number, state in enumerate(trained[:-1]):
        norm(first_convolution(method, state, number))
    averages = trained[-1].extra[NORMS]["encoder"]["norm_0"]
    close(averages["mean"], norm.running_mean)
    close(averages["variance"], norm.running_var)


def test_evaluation_reads_the_averages_whatever_else_is_in_the_batch(trained):
    method, variables = tiny_conv_method(), variables_of(trained[-1])
    encode = jax.jit(method.apply["encode"])
    images = batch(9)["image"]
    together = encode(variables, {"image": images})
    alone = encode(variables, {"image": images[:1]})
    np.testing.assert_allclose(together.tokens[:1], alone.tokens, rtol=REORDERED, atol=1e-6)
    moved = jax.tree.map(lambda each: each + 1.0, variables.extra)
    other = encode(variables._replace(extra=moved), {"image": images})
    assert np.abs(np.asarray(other.tokens - together.tokens)).max() > 0.01
    assert not together.sums


def test_pictures_and_held_out_losses_read_the_averages_too(trained):
    method, variables = tiny_conv_method(), variables_of(trained[-1])
    randomness = Randomness.of(jax.random.key(1), 8)
    held_out = batch(9)
    drawn = method.apply["reconstruct"](variables, held_out, randomness)
    halved = {"image": held_out["image"][:1]}
    one = method.apply["reconstruct"](
        variables, halved, Randomness(randomness.key, randomness.slots[:1])
    )
    np.testing.assert_allclose(drawn["prediction"][:1], one["prediction"], rtol=1e-4, atol=1e-5)
    evaluated = method.apply["evaluated"](variables)
    losses = [
        method.loss(each, held_out, randomness, jnp.float32(0)).terms["pixels"].value
        for each in (variables, evaluated)
    ]
    expected = np.mean(np.square(np.asarray(drawn["prediction"] - drawn["target"])))
    np.testing.assert_allclose(losses[1], expected, rtol=PARITY)
    assert abs(losses[0] - losses[1]) > 1e-3


def test_an_average_of_the_weights_is_evaluated_with_the_averages_of_the_norms():
    method = averaged(tiny_conv_method(), partial(constant, value=0.5))
    state = train(method, range(2))[-1]
    variables = variables_of(state)
    encoded = method.apply["encode"](variables, batch(9))
    inner = Variables(state.extra["average"], state.extra["method"], {})
    expected = tiny_conv_method().apply["encode"](inner, batch(9))
    np.testing.assert_array_equal(encoded.tokens, expected.tokens)
    assert NORMS in method.apply["evaluated"](variables).params


def test_micro_batches_average_all_their_values(trained):
    """Their mean is that of the whole batch in the first step, whose weights are the same."""
    one, two = (
        train(tiny_conv_method(), range(1), micro_batches=parts)[-1].extra[NORMS]["encoder"]
        for parts in (1, 2)
    )
    close(two["norm_0"]["mean"], one["norm_0"]["mean"])
    assert np.abs(np.asarray(two["norm_0"]["variance"] - one["norm_0"]["variance"])).max() < 0.05


def test_a_bad_step_leaves_the_averages():
    states = train(tiny_conv_method(), bad=(1, 2))
    jax.tree.map(np.testing.assert_array_equal, states[3].extra, states[1].extra)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(states[-1].extra))
    assert int(states[3].bad_steps) == 2 and int(states[4].bad_steps) == 0


def test_a_restart_continues_with_the_averages(trained, tmp_path: Path):
    method = tiny_conv_method()
    checkpoints = Checkpoints(tmp_path, keep_latest=1, keep_every=0)
    checkpoints.save(2, trained[2], {}, "{}")
    shapes = jax.eval_shape(lambda: trained[2])
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes)
    restored = checkpoints.restore(like).state
    checkpoints.close()
    continued = train(method, range(2, STEPS), state=restored)[-1]
    jax.tree.map(np.testing.assert_array_equal, continued, trained[-1])


def test_a_teacher_of_averaged_weights_uses_its_batch():
    teacher = partial(average, find=last_tokens, momentum=partial(constant, value=0.9))
    method = tiny_conv_method(teachers={"teacher": teacher})
    states = train(method, range(1))
    assert set(states[-1].extra) == {"teacher", NORMS}


def test_other_networks_keep_no_averages():
    method = tiny_method()
    params, extra = jax.eval_shape(method.init, jax.random.key(0))
    assert method.net.norms is None and extra == {} and set(params) == {"encoder", "decoder"}
    variables = Variables(params, extra, {})
    assert with_norms(variables) is variables


def test_an_encoder_whose_norms_nobody_averages_is_refused():
    with pytest.raises(ModelError, match="`picture_net` its keyword `norms`"):
        jax.eval_shape(tiny_conv(norms=None).init, jax.random.key(0))


def test_the_name_of_the_averages_is_taken():
    teacher = partial(average, find=last_tokens, momentum=partial(constant, value=0.9))
    with pytest.raises(ModelError, match="'norms' is the name of the running averages"):
        tiny_method(teachers={"norms": teacher})


def test_a_method_that_hands_on_no_sums_is_refused():
    net = tiny_conv()
    with pytest.raises(ModelError, match="averages that never change"):
        updated_norms(net, {NORMS: {}}, {})
    with pytest.raises(ModelError, match="self_distillation keeps no running averages"):
        refuse_norms(net, "self_distillation")
