"""Equal weights and equal masks: SimMIM computes what transformers computes, loss and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.losses.regression import absolute_error
from maskmim.masks.core import from_scores
from maskmim.masks.roles import in_place
from maskmim.methods.masked import masked
from maskmim.objectives.matching import match
from maskmim.targets.pixels import patches
from maskmim.tree_paths import named_leaves
from maskmim.types import Randomness, Variables
from tests.compiling import quick_jit
from tests.interop.transformers_simmim import CASES, SPEC, outputs_of
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

EXAMPLES = 2


def difference(ours, theirs):
    """Return the largest difference over the largest value of theirs."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def theirs(case, pixels, hidden):
    model = case.peer()
    side, times = SPEC.size[0] // case.unit, case.unit // case.patch
    fine = hidden.reshape(-1, side, side).repeat(times, axis=1).repeat(times, axis=2)
    mask = torch.from_numpy(fine.reshape(EXAMPLES, -1))
    features, pictures, loss = outputs_of(model, torch.from_numpy(pixels), mask)
    loss.backward()
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters()}
    pictures = pictures.detach().numpy().transpose(0, 2, 3, 1)
    results = {"features": features.detach().numpy(), "loss": float(loss.detach())}
    return weights, case.params(gradients, gradients=True), results, pictures


def ours(case, params, pixels, mask):
    net = case.net()
    method = masked(
        SPEC,
        model=lambda spec: net,
        mask=partial(in_place, sampler=lambda randomness, context: mask),
        objectives={"pixels": partial(match, head="pixels", target=patches, loss=absolute_error)},
        teachers={},
    )
    batch = {"image": pixels.transpose(0, 2, 3, 1)}
    in_place_mask = in_place(None, None, sampler=lambda *_: mask)

    @quick_jit
    def run(params, batch):
        def loss(params):
            losses = method.loss(
                Variables(params, {}, {}), batch, Randomness.of(jax.random.key(0), EXAMPLES), 0.0
            )
            return losses.terms["pixels"].value

        encoded = net.encode(params, net.inputs(batch), in_place_mask)
        outputs = net.predict(params, encoded, in_place_mask)
        return jax.value_and_grad(loss)(params), encoded.tokens, outputs["pixels"]

    (loss, gradients), features, predictions = run(params, batch)
    return {"features": features, "loss": loss}, predictions, gradients


@pytest.mark.proves(107, "features, predictions, loss and gradients equal transformers' SimMIM")
@pytest.mark.parametrize("name", CASES)
def test_equals_transformers(name):
    case = CASES[name]
    if name == "relative vit":
        case = case._replace(net=partial(case.net, drop_path=0.0))
    rng = np.random.default_rng(1)
    pixels = rng.normal(size=(EXAMPLES, 3, *SPEC.size)).astype(np.float32)
    length = (SPEC.size[0] // case.unit) ** 2
    mask = from_scores(jnp.asarray(rng.random((EXAMPLES, length), np.float32)), ratio=0.6)

    weights, their_gradients, expected, pictures = theirs(case, pixels, np.asarray(mask.hidden))
    results, predictions, gradients = ours(case, case.params(weights), pixels, mask)

    predicted = np.asarray(mask.predict)[..., None]
    their_patches = np.asarray(case.net().patchify(pictures))
    differences = {key: difference(results[key], expected[key]) for key in results}
    differences["predictions"] = difference(
        predictions, np.take_along_axis(their_patches, predicted, axis=1)
    )
    expected_gradients = dict(named_leaves(their_gradients))
    for path, leaf in named_leaves(gradients):
        assert np.any(leaf), path
        differences[path] = difference(leaf, expected_gradients[path])
    worst = max(differences, key=differences.get)
    print(f"\n{name}: at most {differences[worst]:.1e} ({worst})")
    assert differences[worst] < PARITY, (worst, differences[worst])
