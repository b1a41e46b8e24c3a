"""Latent MIM against the official model: patches, targets, predictions, every term, gradients."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.data.gapped_crop import cut_patches
from maskmim.interop.layout import arrays_of
from maskmim.losses.feature import patch_discrimination
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_scores
from maskmim.methods.masked import sum_objectives
from maskmim.models.latent_mim import POSITIONS, PROJECTED, near_cues, vit_latent_mim
from maskmim.models.layers.posembed import fixed_positions
from maskmim.objectives.matching import match
from maskmim.objectives.mean_cosine import given_tokens, mean_cosine, predicted
from maskmim.targets.features import features, standardised_features
from maskmim.teachers.features import predicted_tokens
from maskmim.training.build import build_method
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Randomness, Spec, Variables, View
from tests.comparing import close
from tests.compiling import quick_jit
from tests.golden.latent_mim import case
from tests.golden.official_weights import params_by_name
from tests.tiny import pictures

pytestmark = pytest.mark.full

IMAGE = case.SIDE * case.PATCH
MASK = from_scores(-jnp.asarray(case.noise()), ratio=1 - case.VISIBLE / case.SIDE**2)


def official_net():
    """The case's network."""
    return vit_latent_mim(
        Spec((IMAGE, IMAGE), 3, (0.0,) * 3, (1.0,) * 3, dtype="float32"),
        variant="x".join(map(str, case.ENCODER)),
        patch=(case.PATCH, case.PATCH),
        projector_layers=case.PROJECTOR[0],
        projector_hidden=case.PROJECTOR[1],
        decoder_depth=case.DECODER[0],
        decoder_width=case.DECODER[1],
        decoder_heads=case.DECODER[2],
    )


def cut():
    """The case's pictures f32[B, H, W, 3] of patches that are cut out of their cells."""
    offsets = case.offsets().swapaxes(0, 1)
    patch = (case.PATCH, case.PATCH)
    return np.stack([cut_patches(*each, patch) for each in zip(case.pictures(), offsets)])


def terms():
    """The objectives of the published loss with the case's scale, and the official norm_l2."""
    held = partial(mean_cosine, start=case.COSINE, end=case.COSINE, scale=case.SCALE)
    infonce = partial(patch_discrimination, temperature=case.TEMPERATURE)
    return {
        "infonce": match(head="features", target=features, loss=infonce),
        "cosine_predicted": held(source=partial(predicted, head="features")),
        "cosine_visible": held(source=partial(given_tokens, name=PROJECTED)),
        "norm_l2": match(
            head="features", target=standardised_features, loss=squared_error, scale=0.0
        ),
    }


@cache
def outcome():
    """The losses, the view, the gradients of the loss and the official shapes by name."""
    net = official_net()
    params, theirs = params_by_name(
        case.layout(), jax.eval_shape(net.init, jax.random.key(0)), case.weight
    )
    shared = {part: params[part] for part in ("encoder", "projector")}
    teacher, _ = params_by_name(case.encoder("target_encoder"), shared, case.weight)
    batch = {"image": cut()}

    def run(params):
        context = Context(batch, net.grids, {}, 0.3)
        hints = predicted_tokens(net, teacher, context, MASK, given=PROJECTED)
        inputs = net.inputs(batch)
        encoded = net.encode(params, inputs, MASK)
        outputs = net.predict(params, encoded, MASK)
        context = Context(batch, net.grids, hints, 0.3)
        losses = sum_objectives(terms(), View(net, context, inputs, MASK, encoded, outputs, {}))
        found = {name: term.value for name, term in losses.terms.items()}
        total = sum(losses.scales[name] * value for name, value in found.items())
        cosines = {name: value.value for name, value in losses.metrics.items()}
        return total, (found, cosines, encoded.given[PROJECTED][:, 1:], outputs, hints)

    (total, made), gradients = jax.jit(jax.value_and_grad(run, has_aux=True))(params)
    return total, made, gradients, theirs


@pytest.mark.proves(
    133,
    "patches, targets, predictions, each term of the loss, the loss and all gradients equal "
    "the official model's",
)
def test_equals_the_official_model():
    golden = np.load(case.GOLDEN)
    total, (found, cosines, visible, outputs, hints), gradients, theirs = outcome()
    net = official_net()
    close(net.patchify(cut()), golden["patches"], name="patches")
    close(visible, golden["visible"], name="visible")
    targets = np.take_along_axis(
        np.asarray(hints["features"]), np.asarray(MASK.predict)[..., None], 1
    )
    close(targets, golden["targets"], name="targets")
    close(outputs["features"], golden["predictions"], name="predictions")
    close(found["infonce"], golden["infonce"], name="infonce")
    close(found["norm_l2"], golden["norm_l2"], name="norm_l2")
    for name, cosine in zip(("predicted", "visible"), golden["cosines"], strict=True):
        close(cosines[f"cosine_{name}/cosine"], cosine, name=name)
        close(found[f"cosine_{name}"], (cosine - case.COSINE) ** 2, name=name)
    close(total, golden["loss"], name="loss")
    ends = np.cumsum([np.prod(shape) for shape in theirs.values()])
    ours = arrays_of(case.layout(), gradients)
    expected = np.split(golden["gradients"], ends[:-1])
    for (name, shape), gradient in zip(theirs.items(), expected, strict=True):
        close(ours[name], gradient.reshape(shape), name=name)
        assert np.any(ours[name]), name


def test_positions_equal_the_official_ones():
    table = fixed_positions(POSITIONS, case.ENCODER[1], (case.SIDE, case.SIDE))
    close(table, np.load(case.GOLDEN)["positions"][1:])
