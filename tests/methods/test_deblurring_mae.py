"""Deblurring MAE: transformers' MAE with ones as loss mask; visible patches become sharper."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from scipy.ndimage import gaussian_filter

from maskmim.config.load import load
from maskmim.data.blurred_crop import gaussian_blur
from maskmim.data.decode import decode
from maskmim.data.grocery import grocery
from maskmim.evals.deblurring import patch_errors
from maskmim.interop import huggingface
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_scores
from maskmim.masks.roles import all_predicted
from maskmim.masks.uniform import random
from maskmim.methods.masked import masked
from maskmim.models.masked_vit import vit_mae
from maskmim.objectives.matching import match
from maskmim.targets.pixels import patches_of
from maskmim.training.build import build_method
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Method, Randomness, Spec, Variables
from tests.interop.transformers_mae import Case, our_net, peer, state_of
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

CASE = Case("deblurring", image=(24, 24), encoder=(2, 16, 2, 32), normalise=False)
EXAMPLES = 3
# Half of the tokens are seen and the blur is strong, so that a few hundred small steps suffice.
SIDE, PATCH, SIGMA, BATCH, STEPS = 16, 4, 2.0, 32, 500
HALF = partial(random, ratio=0.5)


def composed(spec: Spec, model, sampler) -> Method:
    """Return a method that predicts the array 'sharp' of the batch."""
    target = partial(patches_of, array="sharp")
    return masked(
        spec,
        model=model,
        mask=sampler,
        objectives={"pixels": partial(match, head="pixels", target=target, loss=squared_error)},
        teachers={},
    )


def loss_of(method: Method, params, batch, key) -> jax.Array:
    """Return the loss of a batch."""
    randomness = Randomness.of(key, len(batch["image"]))
    losses = method.loss(Variables(params, {}, {}), batch, randomness, jnp.float32(0.0))
    return losses.terms["pixels"].value


@pytest.mark.proves(
    95,
    "predictions, loss and all gradients equal those of transformers' ViTMAE, whose "
    "loss is that of sharp pixels on all patches",
)
def test_equals_transformers_with_ones_as_loss_mask():
    """Their input is blurred by scipy; their formula of the loss gets the sharp pixels and ones."""
    rng = np.random.default_rng(1)
    sharp = rng.normal(size=(EXAMPLES, 3, *CASE.image)).astype(np.float32)
    blurred = gaussian_filter(sharp, 1.1, mode="mirror", radius=4, axes=(2, 3))
    length = CASE.grid[0] * CASE.grid[1]
    noise = np.stack([rng.permutation(length) for _ in range(EXAMPLES)]).astype(np.float32)
    model = peer(CASE)
    theirs = model(torch.from_numpy(blurred), noise=torch.from_numpy(noise))
    error = ((theirs.logits - model.patchify(torch.from_numpy(sharp))) ** 2).mean(dim=-1)
    ones = torch.ones_like(theirs.mask)
    loss = (error * ones).sum() / ones.sum()
    loss.backward()
    of_hidden = float((error * theirs.mask).sum().detach() / theirs.mask.sum())
    gradients = {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}

    def given(randomness, context):
        return all_predicted(
            randomness, context, sampler=lambda *_: from_scores(-jnp.asarray(noise), ratio=0.75)
        )

    net = our_net(CASE)
    spec = Spec(CASE.image, 3, (0.0,) * 3, (1.0,) * 3, dtype="float32")
    method = composed(spec, lambda _: net, given)
    batch = {
        "image": np.stack([gaussian_blur(each, 1.1) for each in sharp.transpose(0, 2, 3, 1)]),
        "sharp": sharp.transpose(0, 2, 3, 1),
    }
    params = huggingface.load(net, state_of(model))

    @jax.jit
    def run(params):
        key = jax.random.key(0)
        mask = given(Randomness.of(key, EXAMPLES), Context(batch, net.grids, {}))
        encoded = net.encode(params, net.inputs(batch), mask)
        predicted = net.predict(params, encoded, mask)["pixels"]
        return predicted, *jax.value_and_grad(partial(loss_of, method))(params, batch, key)

    predicted, ours, our_gradients = run(params)
    close(predicted, theirs.logits.detach().numpy())
    close(ours, loss.detach().numpy())
    assert abs(float(ours) - of_hidden) > 1e-3
    expected = dict(named_leaves(huggingface.load(net, gradients)))
    for path, leaf in named_leaves(our_gradients):
        close(leaf, expected[path], path)


def close(ours, theirs, name=""):
    """Compare relative to the largest value."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, name
    off = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert off < PARITY, (name, off)


def parts_of(split: str, count: int, seed: int) -> dict[str, np.ndarray]:
    """Return grey parts of photographs, blurred and sharp, u8[count, 16, 16, 1]."""
    records, rng = grocery(split=split), np.random.default_rng(seed)
    made = {"image": [], "sharp": []}
    for index in rng.integers(0, len(records), count):
        whole = decode(records[int(index)].encoded, channels=1)
        top, left = (int(rng.integers(0, side - SIDE)) for side in whole.shape[:2])
        for name, picture in (("image", gaussian_blur(whole, SIGMA)), ("sharp", whole)):
            made[name].append(picture[top : top + SIDE, left : left + SIDE])
    return {name: np.stack(pictures) for name, pictures in made.items()}


def psnr_after_training(sampler, train, test) -> np.ndarray:
    """Return dB of the blurred input, of predicted visible and of predicted hidden patches."""
    sizes = {"variant": "1x64x2", "patch": (PATCH, PATCH), "decoder_depth": 1}
    model = partial(vit_mae, **sizes, decoder_width=64, decoder_heads=2)
    method = composed(Spec((SIDE, SIDE), 1, (0.5,), (0.25,)), model, sampler)
    schedule = optax.warmup_cosine_decay_schedule(0.0, 5e-3, 20, STEPS)
    optimiser = optax.adamw(schedule, b2=0.95)
    net, (params, _) = method.net, method.init(jax.random.key(0))

    @jax.jit
    def step(params, kept, batch, key):
        gradients = jax.grad(partial(loss_of, method))(params, batch, key)
        updates, kept = optimiser.update(gradients, kept, params)
        return optax.apply_updates(params, updates), kept

    @jax.jit
    def errors(params):
        randomness = Randomness.of(jax.random.key(5), len(test["image"]))
        mask = all_predicted(randomness, Context(test, net.grids, {}), sampler=HALF)
        inputs, sharp = net.inputs(test), net.inputs({"image": test["sharp"]})
        predicted = net.predict(params, net.encode(params, inputs, mask), mask)["pixels"]
        return patch_errors(net, inputs, predicted, sharp, mask)

    kept, rng = optimiser.init(params), np.random.default_rng(1)
    for number in range(STEPS):
        chosen = rng.integers(0, len(train["image"]), BATCH)
        batch = {name: pictures[chosen] for name, pictures in train.items()}
        params, kept = step(params, kept, batch, jax.random.key(number))
    total, count = np.asarray(errors(params)).T
    return -10 * np.log10(total / count)


@pytest.mark.slow
@pytest.mark.proves(
    95,
    "predicted visible patches are sharper than the blurred input; with a loss "
    "on hidden patches alone they are not",
)
def test_visible_patches_are_deblurred():
    train, test = parts_of("train+val", 800, 0), parts_of("test", 256, 1)
    blurred, visible, hidden = psnr_after_training(
        partial(all_predicted, sampler=HALF), train, test
    )
    same, of_masked_loss, _ = psnr_after_training(HALF, train, test)
    found = blurred, visible, hidden, of_masked_loss
    assert same == blurred
    assert visible > blurred + 0.5, found
    assert visible > hidden + 2.0, found
    assert of_masked_loss < blurred - 3.0, found


def test_the_published_recipe():
    config = load("configs/deblurring_mae.py:path=pictures")
    optim, schedule = config.optim, config.schedule
    assert (config.train.batch_size, config.train.epochs) == (256, 12000)
    assert (optim.lr, optim.lr_per, optim.weight_decay) == (1.5e-4, 256, 0.05)
    assert (optim.b1, optim.b2, schedule.warmup_epochs, schedule.final) == (0.9, 0.95, 40, 0.0)
    assert config.data.augment.sigma == config.evals.transform.sigma == 1.1
    assert (config.mask.sampler.ratio, tuple(config.data.augment.scale)) == (0.75, (0.2, 1.0))
    _, method = build_method(config)
    assert method.net.grids == {"image": (14, 14)}
