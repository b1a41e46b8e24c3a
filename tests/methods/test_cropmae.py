"""CropMAE as a whole: the official loss, what the other view is worth, drops, pictures, recipe."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from maskmim.config.load import load
from maskmim.data.decode import picture
from maskmim.data.grocery import grocery
from maskmim.data.nested_crops import global_to_local
from maskmim.evals.method_pictures import example_batch
from maskmim.interop.layout import arrays_of
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_hidden, from_scores
from maskmim.masks.views import asymmetric
from maskmim.methods.views import masked_views
from maskmim.models.siamese import vit_siamese
from maskmim.objectives.matching import match
from maskmim.targets.pixels import normalised_patches
from maskmim.training.build import assemble
from maskmim.training.train_step import step_metrics
from maskmim.types import Context, Method, Randomness, Spec, Variables
from tests.golden.cropmae import case
from tests.models.test_siamese import close, official, official_net, theirs_of
from tests.tolerances import PARITY, REORDERED

pytestmark = pytest.mark.full

SIDE, PATCH = 24, 8
SPEC = Spec((SIDE, SIDE), 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STEPS, BATCH, HELD_OUT = 100, 64, 256


def composed(model, mask, spec=SPEC) -> Method:
    """Return a method whose second view reads the first."""
    return masked_views(
        spec,
        model=model,
        mask=mask,
        objectives={
            "pixels": partial(match, head="pixels", target=normalised_patches, loss=squared_error)
        },
        pairs={},
        teachers={},
        predicts=(1,),
        reads=((1, 0),),
    )


def small_method(dropout: float = 0.1) -> Method:
    """Return a method of 9 tokens, 2 of which are seen of the second view."""
    sizes = {"variant": "2x32x2", "patch": (PATCH, PATCH), "decoder_depth": 2, "decoder_width": 32}
    model = partial(vit_siamese, **sizes, decoder_heads=2, decoder_hidden=64, dropout=dropout)
    return composed(model, partial(asymmetric, ratios=(0.0, 7 / 9)))


def pairs(split: str, count: int, seed: int) -> np.ndarray:
    """Return nested crops u8[count, 2, 24, 24, 3] of the embedded photographs."""
    records, rng = grocery(split=split), np.random.default_rng(seed)
    chosen = np.linspace(0, len(records) - 1, count).astype(int)
    return np.stack(
        [
            global_to_local(rng, picture(rng, records[int(i)].encoded), (SIDE, SIDE))["views"]
            for i in chosen
        ]
    )


def shuffled(views: np.ndarray) -> np.ndarray:
    """Return the views with the first one of another picture."""
    return np.stack([np.roll(views[:, 0], 1, axis=0), views[:, 1]], axis=1)


def blank(views: np.ndarray) -> np.ndarray:
    """Return the views with a grey picture as the first one, of which nothing can be learnt."""
    return np.stack([np.full_like(views[:, 0], 128), views[:, 1]], axis=1)


def loss_of(method: Method, params, views, key):
    """Return the loss of a batch of views."""
    batch, randomness = {"views": views}, Randomness.of(key, len(views))
    losses = method.loss(Variables(params, {}, {}), batch, randomness, jnp.float32(0.0))
    return step_metrics(losses)["loss"]


@cache
def trained() -> dict[str, tuple[float, float]]:
    """Train with the own, another picture's and a grey picture's memory.

    Returns held-out losses with the memory of the training, and with another picture's.
    """
    method, train, test = small_method(), pairs("train+val", 600, 0), pairs("test", HELD_OUT, 1)
    others = np.stack([np.roll(test[:, 0], 2, axis=0), test[:, 1]], axis=1)
    optimiser = optax.adamw(optax.cosine_decay_schedule(2e-3, STEPS), b2=0.95)

    @jax.jit
    def step(params, kept, views, key):
        loss, gradients = jax.value_and_grad(partial(loss_of, method))(params, views, key)
        updates, kept = optimiser.update(gradients, kept, params)
        return optax.apply_updates(params, updates), kept, loss

    def held_out(params, kept, views):
        parts = np.split(views, HELD_OUT // BATCH)
        return np.mean([step(params, kept, part, jax.random.key(5))[-1] for part in parts])

    found = {}
    for name, change in (("own", np.asarray), ("shuffled", shuffled), ("blank", blank)):
        params, _ = method.init(jax.random.key(0))
        kept, rng = optimiser.init(params), np.random.default_rng(1)
        for number in range(STEPS):
            views = change(train[rng.integers(0, len(train), BATCH)])
            params, kept, _ = step(params, kept, views, jax.random.key(number))
        found[name] = tuple(held_out(params, kept, views) for views in (change(test), others))
    return found


@pytest.mark.slow
@pytest.mark.proves(67, "the own picture's global crop predicts better than another's, or none")
def test_the_own_picture_as_memory_is_worth_more_than_another():
    """Measured: 0.62, with another picture's global crop 0.72; control 0.71, grey picture 0.69.

    The control learns that the memory is of another picture and is indifferent to it. A network
    that has two patches and a grey picture, as MAE has, lies between them.
    """
    found = trained()
    (own, other), (control, control_other), (grey, _) = found.values()
    assert own < other - 0.04, found
    assert own < control - 0.04, found
    assert own < grey - 0.02, found
    assert abs(control - control_other) < 0.005, found


@pytest.mark.proves(67, "the method's loss and gradients equal the official model's")
def test_the_loss_of_the_method_equals_the_official_one():
    net, params, golden = official()
    length = (case.IMAGE // case.PATCH) ** 2

    def masks(randomness, context):
        second = from_scores(-jnp.asarray(case.noise()), ratio=case.RATIO)
        return from_hidden(jnp.zeros((case.EXAMPLES, length), bool), count=0), second

    spec = Spec((case.IMAGE, case.IMAGE), 3, (0.0,) * 3, (1.0,) * 3, dtype="float32")
    method = composed(lambda spec: official_net(dropout=0.0), masks, spec)
    assert method.net.grids == net.grids
    views = case.views().transpose(0, 1, 3, 4, 2)
    run = jax.jit(jax.value_and_grad(partial(loss_of, method)))
    loss, gradients = run(params, views, jax.random.key(0))
    close(loss, golden["loss"], PARITY, "loss")
    ours = arrays_of(case.layout(), gradients)
    for name, gradient in theirs_of(golden, golden["gradients"]).items():
        close(ours[name], gradient, PARITY, name)


@cache
def an_example() -> tuple[Method, dict, np.ndarray]:
    """Return a method with params of which every part matters, and views of photographs."""
    method = small_method()
    params, _ = method.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: x + rng.normal(0, 0.1, x.shape).astype(np.float32), params)
    return method, params, pairs("val", 8, 2)


def test_training_drops_and_evaluation_does_not():
    method, params, views = an_example()
    variables, randomness = Variables(params, {}, {}), Randomness.of(jax.random.key(1), len(views))
    still = small_method(dropout=0.0)
    predictions, losses = {}, {}
    for name, each in (("drops", method), ("still", still)):
        run = jax.jit(each.apply["reconstruct"])
        predictions[name] = run(variables, {"views": views}, randomness)["prediction"]
        losses[name] = float(jax.jit(partial(loss_of, each))(params, views, jax.random.key(1)))
    np.testing.assert_array_equal(predictions["drops"], predictions["still"])
    assert losses["drops"] != pytest.approx(losses["still"], rel=1e-3)


def test_losses_do_not_depend_on_micro_batches():
    """The sums of a batch are those of its halves, masks and dropout included."""
    method, params, views = an_example()
    whole = Randomness.of(jax.random.key(2), len(views))

    @jax.jit
    def sums(views, slots):
        randomness = whole._replace(slots=slots)
        variables = Variables(params, {}, {})
        found = method.loss(variables, {"views": views}, randomness, jnp.float32(0.0))
        return jnp.stack(found.terms["pixels"])

    every = sums(views, whole.slots)
    parts = [sums(views[half], whole.slots[half]) for half in (slice(0, 4), slice(4, 8))]
    np.testing.assert_allclose(sum(parts), every, rtol=REORDERED)
    assert every[1] == len(views) * 7
    moved = sums(views, whole.slots + jnp.uint32(1))
    assert abs(moved[0] / every[0] - 1) > 1e-3


def test_pictures_show_the_views_that_are_trained_on():
    parts = assemble(load("cropmae:tiny"), 296)
    batch = example_batch(parts, 4)
    assert {name: array.shape for name, array in batch.items()} == {
        "image": (4, 32, 32, 3),
        "views": (4, 2, 32, 32, 3),
    }
    first, second = (batch["views"][:, number].astype(int) for number in range(2))
    assert np.abs(first - second).mean() > 5 and np.abs(first - batch["image"]).mean() > 2
    np.testing.assert_array_equal(batch["views"], example_batch(parts, 4)["views"])


def test_the_published_recipe():
    config = load("cropmae")
    assert (config.train.batch_size, config.train.epochs) == (2048, 400)
    assert (config.optim.lr, config.optim.lr_per, config.optim.weight_decay) == (1e-4, 256, 0.05)
    assert (config.optim.b1, config.optim.b2) == (0.9, 0.95)
    assert (config.schedule.warmup_epochs, config.schedule.final) == (20, 0)
    augment = config.data.augment
    assert (augment.global_scale, augment.local_scale) == ((0.1, 1.0), (0.3, 0.6))
    assert (config.predicts, config.reads, config.data.repeats) == ((1,), ((1, 0),), 1)
    model = config.model
    assert (model.variant, model.patch, model.dropout) == ("S", (16, 16), 0.1)
    decoder = (model.decoder_depth, model.decoder_width, model.decoder_heads, model.decoder_hidden)
    assert decoder == (4, 256, 8, 2048)
    parts = assemble(config, 1_281_167)
    context = Context({}, parts.method.net.grids, {})
    first, second = jax.eval_shape(
        lambda key: asymmetric(Randomness.of(key, 3), context, ratios=config.mask.ratios),
        jax.random.key(0),
    )
    assert (first.visible.shape, first.predict.shape) == ((3, 196), (3, 0))
    assert (second.visible.shape, second.predict.shape) == ((3, 2), (3, 194))


@pytest.mark.parametrize("crops", ["local_to_global", "random", "same"])
def test_other_crops_load(crops):
    parts = assemble(load(f"cropmae:tiny,crops={crops}"), 296)
    assert ("views" in example_batch(parts, 2)) == (crops != "same")
