"""R-MAE: regions as queries, predicted from their visible parts and from the picture."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.config.load import load
from maskmim.interop.layout import arrays_of
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_scores
from maskmim.masks.uniform import random
from maskmim.methods.masked import masked
from maskmim.models.r_mae import vit_r_mae
from maskmim.objectives.matching import match
from maskmim.objectives.region_maps import RegionError, regions
from maskmim.targets.pixels import normalised_patches
from maskmim.training.build import build_method
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Field, Randomness, Spec, Variables, View
from tests.comparing import close
from tests.golden.official_weights import params_by_name
from tests.golden.r_mae import case
from tests.tolerances import PARITY, REORDERED

pytestmark = pytest.mark.full

CALL = "regions"


def size(depth, width, heads):
    return f"{depth}x{width}x{heads}"


@cache
def official():
    """Return (net, params, {official name: shape}, jitted losses and gradients) of the case."""
    net = vit_r_mae(
        Spec((case.IMAGE, case.IMAGE), 3, (0.0,) * 3, (1.0,) * 3),
        variant=size(*case.ENCODER),
        patch=(case.PATCH, case.PATCH),
        decoder_depth=case.DECODER[0],
        decoder_width=case.DECODER[1],
        decoder_heads=case.DECODER[2],
        memory_depth=case.MEMORY[0],
        region_width=case.MEMORY[1],
        region_heads=case.MEMORY[2],
    )
    ours = jax.eval_shape(net.init, jax.random.key(0))
    params, theirs = params_by_name(case.layout(), ours, case.weight)
    terms = (
        match(head="pixels", target=normalised_patches, loss=squared_error),
        regions(),
    )

    def losses(params, weights, maps):
        batch = {"image": case.pictures().transpose(0, 2, 3, 1), "regions": maps}
        mask = from_scores(-jnp.asarray(case.noise()), ratio=case.RATIO)
        inputs = net.inputs(batch)
        encoded = net.encode(params, inputs, mask)
        outputs = net.predict(params, encoded, mask)
        view = View(net, Context(batch, net.grids, {}), inputs, mask, encoded, outputs, {}, params)
        both = jnp.stack([jnp.mean(term.find(view)[0]) for term in terms])
        every = net.patchify(maps.reshape(-1, *maps.shape[2:], 1).astype(jnp.float32))
        every = every.reshape(*maps.shape[:2], *every.shape[1:])
        seen = jnp.take_along_axis(every, mask.visible[:, None, :, None], axis=2)
        logits = net.calls[CALL](params, encoded, mask, seen)
        return jnp.sum(both * weights), (both, outputs["pixels"], logits, mask.predict)

    return net, params, theirs, jax.jit(jax.grad(losses, has_aux=True))


@pytest.mark.proves(
    50, "pixels, region logits, losses and all gradients equal the official model's"
)
def test_equals_the_official_model():
    golden = np.load(case.GOLDEN)
    _, params, theirs, run_back = official()
    gradients, (losses, pixels, logits, predict) = run_back(params, np.ones(2), case.regions())
    np.testing.assert_array_equal(predict, golden["predict"])
    close(pixels, golden["pixels"], PARITY, "pixels")
    close(logits, golden["regions"], PARITY, "regions")
    close(losses, golden["losses"], PARITY, "losses")
    ends = np.cumsum([np.prod(shape) for shape in theirs.values()])
    expected = np.split(golden["gradients"], ends[:-1])
    ours = arrays_of(case.layout(), gradients)
    for (name, shape), gradient in zip(theirs.items(), expected, strict=True):
        close(ours[name], gradient.reshape(shape), PARITY, name)


@pytest.mark.proves(50, "permuted regions give permuted maps; what is hidden of them gives nothing")
def test_regions_are_queries():
    _, params, _, run_back = official()
    maps = case.regions()
    expected = run_back(params, np.ones(2), maps)[1][2]
    order = np.array([2, 0, 1])
    close(run_back(params, np.ones(2), maps[:, order])[1][2], expected[:, order], REORDERED)
    side = case.IMAGE // case.PATCH
    hidden = np.zeros((case.EXAMPLES, side * side), bool)
    np.put_along_axis(hidden, np.load(case.GOLDEN)["predict"], True, axis=1)
    hidden = hidden.reshape(-1, 1, side, side).repeat(case.PATCH, 2).repeat(case.PATCH, 3)
    turned = np.where(hidden, ~maps, maps)
    np.testing.assert_array_equal(run_back(params, np.ones(2), turned)[1][2], expected)
    other = np.where(hidden, maps, ~maps)
    changed = np.abs(run_back(params, np.ones(2), other)[1][2] - expected).max(axis=(1, 2, 3))
    assert (changed > 100 * PARITY * np.abs(expected).max()).all()


def test_each_loss_trains_its_branch_and_the_encoder():
    _, params, _, run_back = official()
    parts = {}
    for number, name in enumerate(("decoder", "regions")):
        gradients = run_back(params, np.eye(2)[number], case.regions())[0]
        parts[name] = {path.split("/")[0] for path, leaf in named_leaves(gradients) if np.any(leaf)}
    assert parts == {"decoder": {"encoder", "decoder"}, "regions": {"encoder", "regions"}}


SPEC = Spec((16, 16), 3, (0.5,) * 3, (0.3,) * 3, fields={"regions": Field((2, 16, 16), "bool")})


def halves(key, examples):
    """Pictures of two colours with a straight border, and both sides of it as regions."""
    angle, offset, colours, order = jax.random.split(key, 4)
    angle = jax.random.uniform(angle, (examples, 1, 1), maxval=2 * np.pi)
    offset = jax.random.uniform(offset, (examples, 1, 1), minval=-3.0, maxval=3.0)
    rows, columns = jnp.mgrid[:16, :16].astype(jnp.float32)[:, None] - 7.5
    side = jnp.cos(angle) * rows + jnp.sin(angle) * columns > offset
    colours = jax.random.randint(colours, (2, examples, 1, 1, 3), 0, 256)
    picture = jnp.where(side[..., None], colours[0], colours[1]).astype(jnp.uint8)
    swap = jax.random.bernoulli(order, 0.5, (examples, 1, 1))
    return {"image": picture, "regions": jnp.stack([side ^ swap, ~side ^ swap], axis=1)}


@pytest.mark.slow
@pytest.mark.proves(50, "a trained model completes unseen regions, each by its own query")
def test_regions_are_learnt():
    """Beyond the mean of a region's visible patches; with queries swapped far below it."""
    net = partial(vit_r_mae, variant="2x32x2", patch=(4, 4), decoder_depth=1, decoder_width=32)
    net = partial(net, decoder_heads=2, memory_depth=1, region_width=32, region_heads=2)
    method = masked(
        SPEC,
        model=net,
        mask=partial(random, ratio=0.75),
        objectives={"regions": regions},
        teachers={},
    )
    optimiser = optax.adam(3e-3)

    def losses(params, batch, randomness):
        found = method.loss(Variables(params, {}, {}), batch, randomness, 0.0)
        return found.terms["regions"].value, found.metrics["regions/iou"].value

    @jax.jit
    def train(params):
        def step(carry, number):
            params, state = carry
            key = jax.random.fold_in(jax.random.key(1), number)
            gradients, iou = jax.grad(losses, has_aux=True)(
                params, halves(key, 32), Randomness.of(key, 32)
            )
            updates, state = optimiser.update(gradients, state)
            return (optax.apply_updates(params, updates), state), iou

        return jax.lax.scan(step, (params, optimiser.init(params)), jnp.arange(400))

    (params, _), _ = train(method.init(jax.random.key(0))[0])
    key = jax.random.key(99)
    batch, randomness = halves(key, 256), Randomness.of(key, 256)
    iou = float(losses(params, batch, randomness)[1])
    mean, swapped = compare(method.net, params, batch, randomness)
    print(f"IoU: {iou:.3f}, visible mean {mean:.3f}, swapped queries {swapped:.3f}")
    assert iou > mean + 0.2 and swapped < mean / 2


def compare(net, params, batch, randomness):
    """Return the IoU of the mean of visible patches, and of predictions with swapped queries."""
    mask = random(randomness, Context(batch, net.grids, {}), ratio=0.75)
    maps = batch["regions"].reshape(-1, 16, 16, 1).astype(jnp.float32)
    every = net.patchify(maps).reshape(len(batch["image"]), 2, 16, -1)
    seen, truth = (
        jnp.take_along_axis(every, places[:, None, :, None], axis=2)
        for places in (mask.visible, mask.predict)
    )
    encoded = net.encode(params, net.inputs(batch), mask)
    swapped = net.calls[CALL](params, encoded, mask, seen[:, ::-1]) > 0
    mean = jnp.broadcast_to(seen.mean(axis=2, keepdims=True) > 0.5, truth.shape)
    inside = truth > 0.5
    return [float((a & inside).sum() / (a | inside).sum()) for a in (mean, swapped)]


def test_another_field_is_refused():
    net, params, _, _ = official()
    mask = from_scores(-jnp.asarray(case.noise()), ratio=case.RATIO)
    picture = case.pictures().transpose(0, 2, 3, 1)
    for batch, words in (
        ({"image": picture}, "declare it in input.fields.regions"),
        ({"image": picture, "regions": case.regions()[:, :, :8]}, "set input.fields.regions.shape"),
    ):
        context = Context(batch, net.grids, {})
        view = View(net, context, picture, mask, None, {}, {}, params)
        with pytest.raises(RegionError, match=words):
            regions().find(view)


def test_the_published_recipe():
    config = load("r_mae")
    assert (config.train.batch_size, config.optim.lr, config.optim.lr_per) == (4096, 1.5e-4, 256)
    assert config.schedule.warmup_epochs == 40 and config.train.epochs == 800
    assert config.input.fields.regions.shape == (8, 224, 224)
    assert (config.data.decode.scale, config.data.decode.min_size) == (1000.0, 1000)
    _, method = build_method(config)
    shapes = jax.eval_shape(method.init, jax.random.key(0))[0]["regions"]
    assert shapes["head_regions"]["kernel"].shape == (128, 256)
    assert shapes["stack"]["blocks"]["mlp"]["up"]["kernel"].shape == (8, 128, 512)
    assert shapes["mlp"]["up"]["kernel"].shape == (128, 128)
