"""FSFM: one step equal to the official one; what each term reaches, what the target sees."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.interop.layout import arrays_of
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_hidden
from maskmim.methods.masked import masked
from maskmim.models.fsfm import vit_fsfm
from maskmim.models.projectors import mlp
from maskmim.objectives import match, match_covered, match_projection, represented
from maskmim.targets.pixels import normalised_patches
from maskmim.teachers.average import average
from maskmim.teachers.momentum import constant
from maskmim.teachers.projections import projected_representation
from maskmim.training.build import assemble
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Randomness, Spec, Variables
from tests.comparing import close
from tests.compiling import quick_jit
from tests.golden.fsfm import case
from tests.golden.official_weights import params_by_name

SPEC = Spec((case.IMAGE, case.IMAGE), 3, (0.0,) * 3, (1.0,) * 3, dtype="float32")
RANDOMNESS = Randomness.of(jax.random.key(0), case.EXAMPLES)
SCALES = {"pixels": 1.0, "covered": case.COVERED_SCALE, "identity": case.IDENTITY_SCALE / 4}
AVERAGED = ("encoder", "representer", "projector")


def given_mask(randomness, context):
    """The case's mask, with the region that it covers."""
    hidden, covered = map(jnp.asarray, case.masks())
    return from_hidden(hidden, count=case.HIDDEN_TOKENS)._replace(covered=covered)


@cache
def method():
    """FSFM at the case's size."""
    pixels = {"head": "pixels", "target": normalised_patches, "loss": squared_error}
    head = partial(mlp, hidden=case.HIDDEN, values=case.VALUES, biases=True)
    head = partial(head, norm="layer", norm_eps=1e-5)
    return masked(
        SPEC,
        model=partial(
            vit_fsfm,
            variant="x".join(map(str, case.ENCODER)),
            patch=(case.PATCH, case.PATCH),
            decoder_depth=case.DECODER[0],
            decoder_width=case.DECODER[1],
            decoder_heads=case.DECODER[2],
            representer_depth=case.REPRESENTER[0],
            representer_heads=case.REPRESENTER[1],
        ),
        mask=given_mask,
        objectives={
            "pixels": partial(match, **pixels),
            "covered": partial(match_covered, **pixels, scale=SCALES["covered"]),
            "identity": partial(match_projection, source=represented, scale=SCALES["identity"]),
        },
        teachers={
            "average": partial(
                average,
                find=projected_representation,
                momentum=partial(constant, value=case.MOMENTUM),
                parts=AVERAGED,
            )
        },
        calls={"projector": head, "predictor": partial(head, inputs=case.VALUES)},
    )


@cache
def example():
    """(variables with the official weights, pictures f32[B, H, W, 3])."""
    shapes, extra = jax.eval_shape(method().init, jax.random.key(0))
    params, _ = params_by_name(case.layout(), shapes, case.weight)
    averaged, _ = params_by_name(case.target_layout(), extra["average"], case.target_weight)
    variables = Variables(params, {"average": averaged}, {"average": ()})
    return variables, case.pictures().transpose(0, 2, 3, 1)


@cache
def run():
    """(terms, gradients of each of them to params, average and pictures, the new average)."""
    variables, pictures = example()

    @quick_jit
    def step(params, extra, pictures):
        def terms(params, extra, pictures):
            trained = variables._replace(params=params, extra=extra)
            found = method().loss(trained, {"image": pictures}, RANDOMNESS, jnp.float32(0))
            assert found.scales == SCALES
            return {name: term.value for name, term in found.terms.items()}, found.carry

        values, carry = terms(params, extra, pictures)
        made = jax.jacrev(lambda *all: terms(*all)[0], argnums=(0, 1, 2))(params, extra, pictures)
        trained = variables._replace(params=params, extra=extra)
        return values, made, method().refresh(trained, carry, jnp.float32(0))

    return step(variables.params, variables.extra, pictures)


def stored_parts(arrays, golden):
    """(name, every third number of ours, the recorded numbers) of each array."""
    ours = {name: array.reshape(-1)[:: case.EVERY] for name, array in arrays.items()}
    ends = np.cumsum([len(part) for part in ours.values()])
    theirs = np.split(golden, ends[:-1])
    assert ends[-1] == len(golden)
    return zip(ours, ours.values(), theirs, strict=True)


@pytest.mark.full
@pytest.mark.proves(127, "the three terms and all gradients equal those of the official step")
def test_losses_and_gradients_equal_the_official_step():
    golden = np.load(case.GOLDEN)
    terms, gradients, _ = run()
    for name in ("pixels", "covered"):
        close(terms[name], golden[name], name=name)
    close(terms["identity"] / 4 - 0.5, golden["identity"], name="identity")
    total = sum(scale * terms[name] for name, scale in SCALES.items())
    close(total - case.IDENTITY_SCALE / 2, golden["loss"])
    params = jax.tree.map(
        lambda *parts: sum(s * part for s, part in zip(SCALES.values(), parts, strict=True)),
        *(gradients[name][0] for name in SCALES),
    )
    for name, part, expected in stored_parts(arrays_of(case.layout(), params), golden["gradients"]):
        close(part, expected, name=name)
        assert np.any(part), name


@pytest.mark.full
@pytest.mark.proves(127, "the average after a step equals the official target network")
def test_the_average_equals_the_official_target():
    golden = np.load(case.GOLDEN)["average"]
    averaged = run()[2]["average"]
    assert sorted(averaged) == sorted(AVERAGED)
    for name, part, expected in stored_parts(arrays_of(case.target_layout(), averaged), golden):
        close(part, expected, name=name)


@cache
def features():
    """Jitted pictures -> (pixel predictions, features that predict, features of the target)."""
    variables, _ = example()
    net, params = method().net, variables.params
    mask = given_mask(None, None)

    @quick_jit
    def made(pictures):
        encoded = net.encode(params, net.inputs({"image": pictures}), mask)
        pooled = net.calls["representer"](params, encoded, mask)
        predicted = net.calls["predictor"](params, net.calls["projector"](params, pooled))
        context = Context({"image": pictures}, net.grids, {})
        hints = projected_representation(net, variables.extra["average"], context)
        outputs = net.predict(params, encoded, mask)
        return outputs["pixels"], unit(predicted), unit(hints["projection"])

    return made


def unit(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.full
@pytest.mark.proves(127, "pixels and the features of both networks equal the official ones")
def test_what_the_networks_make_equals_the_official_code():
    golden = np.load(case.GOLDEN)
    pixels, online, target = features()(example()[1])
    places = np.asarray(given_mask(None, None).predict)[..., None]
    close(pixels, np.take_along_axis(golden["predictions"], places, axis=1), name="pixels")
    close(online, golden["online"], name="online")
    close(target, golden["target"], name="target")


@pytest.mark.full
@pytest.mark.proves(127, "the target sees the hidden patches, what predicts it does not")
def test_the_target_sees_what_is_hidden():
    pictures = example()[1]
    hidden, _ = case.masks()
    grid = hidden.reshape(case.EXAMPLES, 4, 4).repeat(case.PATCH, 1).repeat(case.PATCH, 2)
    changed = np.where(grid[..., None], pictures[::-1], pictures)
    before, after = (features()(each) for each in (pictures, changed))
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])
    assert (np.abs(before[2] - after[2]).max(axis=1) > 0.01).all()


@pytest.mark.full
@pytest.mark.proves(127, "pixels reach no projector, identity no pixel decoder, none the average")
def test_what_each_term_reaches():
    _, gradients, _ = run()
    reached = {
        "pixels": ("encoder/", "decoder/", "representer/mask_token"),
        "covered": ("encoder/", "decoder/", "representer/mask_token"),
        "identity": ("encoder/", "representer/", "projector/", "predictor/"),
    }
    for term, parts in reached.items():
        params, extra, pictures = gradients[term]
        for path, leaf in named_leaves(params):
            assert np.any(leaf) == path.startswith(parts), (term, path)
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(extra)), term
        assert np.any(pictures), term


def test_the_published_recipe():
    """The numbers of the README and of main_pretrain.py, so that nobody changes one unawares."""
    config = load("fsfm")
    assert (config.train.batch_size, config.train.epochs) == (4096, 400)
    assert (config.schedule.warmup_epochs, config.schedule.final) == (40, 0.0)
    assert (config.optim.lr, config.optim.lr_per, config.optim.b2) == (1.5e-4, 256, 0.95)
    assert (config.optim.weight_decay, config.optim.clip_norm) == (0.05, 1.0)
    assert config.mask.ratio == 0.75 and config.mask.candidates == (0, 1, 2, 3, 4, 5)
    scales = {name: term.scale for name, term in config.objectives.items()}
    assert scales == {"pixels": 1.0, "covered": 0.007, "identity": 0.1 / 4}
    model = config.model
    assert (model.representer_depth, model.representer_heads) == (2, 16)
    assert (model.decoder_depth, model.decoder_width, model.decoder_heads) == (8, 512, 16)
    for name, inputs in (("projector", None), ("predictor", 256)):
        head = config.calls[name]
        assert (head.layers, head.hidden, head["values"], head.inputs) == (2, 4096, 256, inputs)
        assert (head.norm, head.norm_eps, head.activation) == ("layer", 1e-5, "relu")
        assert head.biases and not head.last_norm
    assert config.teachers.average.momentum.start == pytest.approx(0.996**4)
    assert assemble(config, 3_000_000).peak == pytest.approx(2.4e-3)
