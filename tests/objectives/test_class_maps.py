"""The objective of a map beside the picture, against torch's cross-entropy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.masks.core import nothing_hidden
from maskmim.models.layers.patches import patchify, unpatchify
from maskmim.objectives import classify_field
from maskmim.targets.class_maps import ClassMapError
from maskmim.types import Context, Net, View

CLASSES, PATCH, GRID = 5, (4, 4), (2, 3)


def view_of(field, logits):
    """A view of pictures 8 x 12 in patches of 4 x 4; logits f32[B, 8, 12, CLASSES]."""
    picture = jnp.zeros((len(field), 8, 12, 3))
    net = Net(
        {"image": GRID},
        4,
        *[None] * 4,
        lambda values: patchify(values, PATCH),
        lambda patches: unpatchify(patches, PATCH, GRID),
        lambda inputs: inputs.astype(jnp.uint8),
    )
    context = Context({"image": picture, "map": jnp.asarray(field)}, net.grids, {})
    outputs = {"classes": patchify(jnp.asarray(logits), PATCH)}
    return View(net, context, picture, nothing_hidden(len(field), 6), None, outputs, {})


def given(seed=0):
    rng = np.random.default_rng(seed)
    field = rng.integers(0, CLASSES, (2, 8, 12)).astype(np.int32)
    field[0, :5] = 255
    field[1, 2:4] = 1
    return field, rng.normal(size=(2, 8, 12, CLASSES)).astype("f4")


@pytest.mark.parametrize("void", [None, 1])
def test_the_loss_is_torchs_over_pixels_of_a_class(void):
    field, logits = given()
    counts = (field < CLASSES) & (field != (-1 if void is None else void))
    target = torch.tensor(np.where(counts, field, -100)).long()
    theirs = torch.tensor(logits.transpose(0, 3, 1, 2), requires_grad=True)
    expected = torch.nn.functional.cross_entropy(theirs, target, ignore_index=-100)
    expected.backward()
    objective = classify_field(head="classes", field="map", void=void)

    def loss(logits):
        per_token, weight, metrics, _ = objective.find(view_of(field, logits))
        return jnp.sum(per_token * weight) / jnp.sum(weight), metrics

    (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(jnp.asarray(logits))
    assert float(value) == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, theirs.grad.permute(0, 2, 3, 1), atol=1e-6)
    right = (logits.argmax(-1) == field)[counts].mean()
    assert float(metrics["accuracy"].value) == pytest.approx(right)


def test_truth_and_prediction_are_shown_in_the_same_colours():
    field, logits = given()
    logits = 9.0 * (np.where(field < CLASSES, field, 0)[..., None] == np.arange(CLASSES))
    shown = classify_field(head="classes", field="map").shows(view_of(field, logits.astype("f4")))
    assert list(shown) == ["picture", "truth", "prediction"]
    truth, prediction = np.asarray(shown["truth"]), np.asarray(shown["prediction"])
    assert truth.shape == prediction.shape == (2, 8, 12, 3) and truth.dtype == np.uint8
    known = field < CLASSES
    assert not truth[~known].any() and (truth == prediction)[known].all()


def test_a_field_that_is_no_such_map_is_an_error():
    field, logits = given()
    with pytest.raises(ClassMapError, match="no field 'maps', but image, map: declare it"):
        classify_field(head="classes", field="maps").find(view_of(field, logits))
    with pytest.raises(ClassMapError, match=r"'map' is float32\[8, 12\], not indices \[8, 12\]"):
        view = view_of(field.astype("f4"), logits)
        classify_field(head="classes", field="map").find(view)
