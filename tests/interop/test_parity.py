"""Equal weights and equal masks: we compute what transformers' ViTMAEForPreTraining computes.

Run with -s to see the table of differences.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.interop import huggingface
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_scores
from maskmim.objectives.matching import match
from maskmim.targets.pixels import normalised_patches, patches
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Mean, View
from tests.interop.transformers_mae import Case, loss_of, our_net, peer, state_of
from tests.tolerances import PARITY

EXAMPLES = 3
CASES = [
    Case("square 32, norm-pix", encoder=(5, 48, 3, 192), decoder=(3, 32, 4)),
    Case("1 channel, eps 1e-12", channels=1, eps=1e-12),
    Case("4 channels, plain pixels", channels=4, normalise=False),
    Case("wide 16x64", image=(16, 64)),
    Case("tall 72x32, 4 channels, eps 1e-12", image=(72, 32), channels=4, eps=1e-12),
    pytest.param(
        Case("mini at 96 px, patch 12", (96, 96), 12, 3, (6, 192, 6, 768), (1, 96, 3)),
        marks=pytest.mark.slow,
    ),
]


def differences(ours, theirs):
    """Return (largest absolute difference, that over the largest value of theirs)."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    largest = np.abs(ours - theirs).max()
    return largest, largest / np.abs(theirs).max()


def in_grid_order(features, noise, visible):
    """Sort their visible tokens, which come in the order of their noise, by place on the grid."""
    order = np.argsort(np.argsort(noise, axis=1)[:, :visible], axis=1)
    return np.take_along_axis(features, order[..., None], axis=1)


def theirs(case, model, pixels, noise):
    features, logits, loss = loss_of(model, torch.from_numpy(pixels), torch.from_numpy(noise))
    loss.backward()
    grads = {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
    return features.detach().numpy(), logits.detach().numpy(), float(loss.detach()), grads


def ours(case, params, pixels, noise):
    net = our_net(case)
    batch = {"image": pixels.transpose(0, 2, 3, 1)}
    objective = match(
        head="pixels",
        target=normalised_patches if case.normalise else patches,
        loss=squared_error,
    )

    def loss(params, batch):
        inputs = net.inputs(batch)
        mask = from_scores(-jnp.asarray(noise), ratio=0.75)
        encoded = net.encode(params, inputs, mask)
        outputs = net.predict(params, encoded, mask)
        view = View(net, Context(batch, net.grids, {}), inputs, mask, encoded, outputs, {})
        per_token, weight, _, _ = objective.find(view)
        return Mean(jnp.sum(per_token * weight), jnp.sum(weight)).value, (encoded, outputs, mask)

    (value, aux), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, batch)
    encoded, outputs, mask = aux
    return encoded, outputs["pixels"], mask, value, grads


@pytest.mark.proves(3, "features, predictions, loss and all gradients equal transformers' ViTMAE")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_transformers(case):
    rng = np.random.default_rng(1)
    model = peer(case)
    pixels = rng.normal(size=(EXAMPLES, case.channels, *case.image)).astype(np.float32)
    length = case.grid[0] * case.grid[1]
    noise = rng.permuted(np.tile(np.arange(length, dtype=np.float32), (EXAMPLES, 1)), axis=1)
    params = huggingface.load(our_net(case), state_of(model))

    features, logits, loss, their_grads = theirs(case, model, pixels, noise)
    encoded, predictions, mask, our_loss, grads = ours(case, params, pixels, noise)

    visible = mask.visible.shape[1]
    compared = {
        "class token": differences(encoded.prefix, features[:, :1]),
        "features": differences(encoded.tokens, in_grid_order(features[:, 1:], noise, visible)),
        "predictions": differences(
            predictions, np.take_along_axis(logits, np.asarray(mask.predict)[..., None], axis=1)
        ),
        "loss": differences(our_loss, loss),
    }
    expected = dict(named_leaves(huggingface.load(our_net(case), their_grads)))
    for path, leaf in named_leaves(grads):
        compared[f"gradient {path}"] = differences(leaf, expected[path])
    show(case, compared)
    worst = max(compared, key=lambda name: compared[name][1])
    assert compared[worst][1] < PARITY, (worst, compared[worst])


def show(case, compared):
    gradients = [pair for name, pair in compared.items() if name.startswith("gradient")]
    row = {name: pair for name, pair in compared.items() if not name.startswith("gradient")}
    row["gradients"] = tuple(np.max(gradients, axis=0))
    cells = "  ".join(f"{name} {a:.1e} / {r:.1e}" for name, (a, r) in row.items())
    print(f"\n{case.name}: {cells}")
