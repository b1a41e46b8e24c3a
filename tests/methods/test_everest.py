"""EVEREST: the official step, what is kept of moving objects, and what is never computed."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.bricks import bind
from maskmim.config.load import load
from maskmim.imagenet import IMAGENET_MEAN, IMAGENET_STD
from maskmim.interop.layout import arrays_of
from maskmim.losses import squared_error
from maskmim.masks import redundancy
from maskmim.methods.masked import masked
from maskmim.models.layers.errors import ModelError
from maskmim.models.videomae import vit_videomae
from maskmim.objectives import match
from maskmim.targets.cubes import normalised_cubes
from maskmim.teachers.current import current
from maskmim.teachers.features import patch_embeddings
from maskmim.training.build import build_method
from maskmim.types import Context, Mask, Randomness, Spec, Variables
from tests.comparing import close
from tests.compiling import quick_jit
from tests.golden.everest import case
from tests.methods.test_videomae import official_params

pytestmark = pytest.mark.full

SPEC = Spec(case.SIZE, 3, IMAGENET_MEAN, IMAGENET_STD, stream="video")
RANDOMNESS = Randomness.of(jax.random.key(0), case.EXAMPLES)
TOKENS = int(np.prod(case.GRID))
BATCH = {"video": case.clips()}
HIDDEN = {"itself": ()}


@cache
def golden():
    with np.load(case.GOLDEN) as stored:
        return dict(stored)


def method_of(sampler):
    """EVEREST at the case's size, composed as the config does, with any sampler."""
    sizes = ["x".join(map(str, size)) for size in (case.ENCODER, case.DECODER)]
    pixels = partial(match, head="pixels", target=normalised_cubes, loss=squared_error)
    return masked(
        SPEC,
        model=partial(vit_videomae, variant=sizes[0], patch=case.PATCH, decoder=sizes[1]),
        mask=sampler,
        objectives={"pixels": pixels},
        teachers={"itself": partial(current, find=patch_embeddings)},
    )


# The official numbers of tokens, rounded down.
SAMPLER = partial(
    redundancy.tokens, ratio=1 - case.VISIBLE / TOKENS, predicted=case.PREDICTED / TOKENS
)


def official_mask():
    """The recorded tokens: shown, predicted, and the others, which are neither."""
    shown, predicted = (~np.unpackbits(golden()[n], axis=-1).astype(bool) for n in OFFICIAL)
    visible, predict = (np.nonzero(part)[1].reshape(len(part), -1) for part in (shown, predicted))
    return Mask(*map(jnp.asarray, (visible, predict, ~shown, np.ones(predict.shape, np.float32))))


OFFICIAL = "unshown", "unpredicted"


@cache
def program():
    """Return a function: (params, mask) -> (loss, predictions), gradients of the loss."""

    def run(params, mask):
        method = method_of(lambda randomness, context: mask)
        variables = Variables(params, HIDDEN, HIDDEN)
        losses = method.loss(variables, BATCH, RANDOMNESS, 0.0)
        made = method.apply["reconstruct"](variables, BATCH, RANDOMNESS)
        return losses.terms["pixels"].value, made["prediction"]

    return quick_jit(jax.value_and_grad(run, has_aux=True))


@cache
def drawn():
    """Return a function: params -> the mask that the method draws, and the loss's gradients."""
    method = method_of(SAMPLER)

    def run(params):
        variables = Variables(params, HIDDEN, HIDDEN)
        made = method.apply["mask"](variables, BATCH, RANDOMNESS)
        return method.loss(variables, BATCH, RANDOMNESS, 0.0).terms["pixels"].value, made["mask"]

    return quick_jit(jax.value_and_grad(run, has_aux=True))


def kept(mask):
    """Which tokens are visible or predicted: bool[B, N]."""
    found = np.zeros(mask.hidden.shape, bool)
    for places in (mask.visible, mask.predict):
        np.put_along_axis(found, np.asarray(places), True, axis=1)
    return found


@pytest.mark.proves(53, "masks, predictions, loss and all gradients are those of the official step")
def test_equals_the_official_step():
    params, mask = official_params(), official_mask()
    (_, ours), _ = drawn()(params)
    np.testing.assert_array_equal(kept(ours), kept(mask))
    (loss, predictions), gradients = program()(params, mask)
    close(predictions, golden()["predictions"], name="predictions")
    close(loss, golden()["loss"], name="loss")
    found, start = arrays_of(case.layout(), gradients), 0
    for entry in case.layout():
        gradient = found[entry.name].reshape(-1)
        close(gradient, golden()["gradients"][start : start + len(gradient)], name=entry.name)
        start += len(gradient)
    assert start == len(golden()["gradients"])


@pytest.mark.proves(53, "what is kept follows the weights of the step, and gets no gradient")
def test_masks_follow_the_weights_without_a_gradient():
    params = official_params()
    turned = params | {"encoder": {**params["encoder"], "embed": turn(params["encoder"]["embed"])}}
    masks = []
    for weights in (params, turned):
        (_, mask), gradients = drawn()(weights)
        (_, _), expected = program()(weights, mask)
        jax.tree.map(close, gradients, expected)
        masks.append(kept(mask))
    assert np.any(masks[0] != masks[1])


def turn(layer):
    """A layer that weighs the pixels of a patch in the reverse order, the first by far the most."""
    weights = np.float32(8.0) ** -np.arange(len(layer["kernel"]), dtype=np.float32)
    return {**layer, "kernel": layer["kernel"][::-1] * weights[:, None]}


def test_the_embeddings_are_the_layer_s_without_positions_and_bias():
    params, net = official_params(), method_of(SAMPLER).net
    context = Context(BATCH, net.grids, {})
    found = np.asarray(patch_embeddings(net, params, context)["features"])
    embedded = net.encode(params, net.inputs(BATCH), None, capture=("embedded",)).embedded
    blank = np.zeros_like(BATCH["video"], np.float32)
    blank = net.encode(params, jnp.asarray(blank), None, capture=("embedded",)).embedded
    close(found, embedded - blank)
    with pytest.raises(ModelError, match="no linear layer 'embed'"):
        patch_embeddings(net, {"encoder": {"stem": {}}}, context)


@pytest.fixture(scope="module")
def moving():
    """The method of everest:small on sprites: (mask, which tokens show the object bool[B, N])."""
    config = load("everest:small")
    config.model.variant, config.model.decoder = "1x32x2", "1x16x2"
    _, method = build_method(config)
    config.data.train.count = 24
    records = bind(config.data.train)()
    examples = [records[index] for index in range(24)]
    clips = np.stack([example.encoded for example in examples])
    there = np.stack([example.fields["object"] for example in examples])

    @jax.jit
    def draw(params, clips):
        variables, randomness = (
            Variables(params, HIDDEN, HIDDEN),
            Randomness.of(jax.random.key(1), 24),
        )
        return method.apply["mask"](variables, {"video": clips}, randomness)["mask"]

    mask = draw(jax.jit(method.net.init)(jax.random.key(0)), clips)
    shown = np.asarray(method.net.patchify(jnp.asarray(there, jnp.float32))).any(-1)
    return mask, shown.reshape(24, *method.net.grids["video"])


@pytest.mark.proves(53, "of a moving object's tokens more than 80 % are kept, 30 % by chance")
def test_moving_objects_are_kept(moving):
    mask, shown = moving
    chosen = kept(mask).reshape(shown.shape)
    assert chosen.mean() == pytest.approx(0.3, abs=0.01)
    # A token changes where the object is now or was one time step before.
    changed = shown.copy()
    changed[:, 1:] |= shown[:, :-1]
    changed[:, 0] = changed[:, 1]
    covered = chosen[changed].mean()
    precise = changed[chosen].mean()
    print(
        f"kept of what changes {covered:.2f} ({changed.mean():.2f} of all), of kept {precise:.2f}"
    )
    assert covered > 0.8


@pytest.mark.parametrize("argument", ["", "variant=L"])
def test_the_published_recipe(argument):
    config = load(f"everest:{argument}")
    optim = config.optim
    assert (config.train.epochs, config.train.batch_size) == (3200, 192)
    assert (optim.lr, optim.lr_per, optim.b2, optim.weight_decay) == (1e-3, 256, 0.95, 0.05)
    assert config.schedule.warmup_epochs == 40 and config.schedule.final == 0.01
    assert (config.mask.ratio, config.mask.predicted) == (0.9, 0.2)
    assert (config.data.decode.frames, config.data.decode.stride) == (16, 4)
    assert config.model.decoder == ("4x512x8" if argument else "4x384x6")
