"""ViC-MAE: equal to the official code; both views predicted, no contrast in the decoder."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.config.parse import ConfigError
from maskmim.interop.layout import arrays_of
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_scores
from maskmim.methods.views import masked_views
from maskmim.models.masked_vit import vit_mae
from maskmim.models.projectors import mlp
from maskmim.objectives import nt_xent
from maskmim.objectives.matching import match
from maskmim.targets.pixels import normalised_patches
from maskmim.training.build import assemble
from maskmim.tree_paths import named_leaves
from maskmim.types import Randomness, Spec, Variables
from tests.comparing import close
from tests.compiling import quick_jit
from tests.golden.official_weights import params_by_name
from tests.golden.vic_mae import case

pytestmark = pytest.mark.full

SPEC = Spec((case.IMAGE, case.IMAGE), 3, (0.0,) * 3, (1.0,) * 3, dtype="float32")
RANDOMNESS = Randomness.of(jax.random.key(0), case.EXAMPLES)
SCALES = {"pixels": 0.97, "contrast": 0.03}
# What a batch norm takes away again: gradients are 0 up to rounding.
NO_GRADIENT = "projector.0.bias", "projector.3.bias"


def given_masks(randomness, context):
    """The official masks: the smallest noise of a view is visible."""
    return tuple(from_scores(-jnp.asarray(noise), ratio=case.RATIO) for noise in case.noise())


@cache
def method():
    """ViC-MAE at the case's size."""
    depth, width, heads = case.DECODER
    pixels = partial(match, head="pixels", target=normalised_patches, loss=squared_error)
    return masked_views(
        SPEC,
        model=partial(
            vit_mae,
            variant="x".join(map(str, case.ENCODER)),
            patch=(case.PATCH, case.PATCH),
            decoder_depth=depth,
            decoder_width=width,
            decoder_heads=heads,
        ),
        mask=given_masks,
        objectives={"pixels": partial(pixels, scale=SCALES["pixels"])},
        pairs={"contrast": partial(nt_xent, scale=SCALES["contrast"])},
        teachers={},
        calls={
            "projector": partial(mlp, layers=3, hidden=case.HIDDEN, values=case.VALUES, biases=True)
        },
        predicts=(0, 1),
    )


@cache
def example():
    """(variables with the official weights, batch)."""
    shapes, _ = jax.eval_shape(method().init, jax.random.key(0))
    params, _ = params_by_name(case.layout(), shapes, case.weight)
    return Variables(params, {}, {}), {"views": case.views().transpose(1, 0, 3, 4, 2)}


@cache
def run():
    """The terms, and the gradients of each of them to params and views."""
    variables, batch = example()

    @quick_jit
    def both(params, views):
        def terms(params, views):
            trained = variables._replace(params=params)
            found = method().loss(trained, {"views": views}, RANDOMNESS, jnp.float32(0))
            assert found.scales == SCALES
            return {name: term.value for name, term in found.terms.items()}

        return terms(params, views), jax.jacrev(terms, argnums=(0, 1))(params, views)

    return both(variables.params, batch["views"])


@pytest.mark.proves(84, "both terms and all gradients equal the official code's on one process")
def test_losses_and_gradients_equal_the_official_code():
    golden = np.load(case.GOLDEN)
    terms, gradients = run()
    close(terms["contrast"], golden["contrast"])
    close(sum(SCALES[name] * value for name, value in terms.items()), golden["loss"])
    params = jax.tree.map(
        lambda *parts: sum(SCALES[n] * part for n, part in zip(gradients, parts, strict=True)),
        *(each[0] for each in gradients.values()),
    )
    ours = {
        name: a.reshape(-1)[:: case.EVERY] for name, a in arrays_of(case.layout(), params).items()
    }
    theirs = np.split(golden["gradients"], np.cumsum([len(part) for part in ours.values()])[:-1])
    for (name, part), expected in zip(ours.items(), theirs, strict=True):
        if name in NO_GRADIENT:
            assert max(np.abs(part).max(), np.abs(expected).max()) < 1e-6, name
        else:
            close(part, expected, name=name)
            assert np.any(part), name


@pytest.mark.proves(84, "predictions of both views, masks and projections equal the official ones")
def test_what_the_networks_make_equals_the_official_code():
    golden, (variables, batch) = np.load(case.GOLDEN), example()
    net, params, masks = method().net, variables.params, given_masks(None, None)

    @quick_jit
    def forward(params, views):
        encoded = [net.encode(params, v, mask) for v, mask in zip(views, masks, strict=True)]
        pooled = [jnp.mean(each.tokens, axis=1) for each in encoded]
        projected = jnp.stack([net.calls["projector"](params, each) for each in pooled])
        pairs = zip(encoded, masks, strict=True)
        return projected, [net.predict(params, each, mask)["pixels"] for each, mask in pairs]

    projected, pixels = forward(params, jnp.moveaxis(batch["views"], 1, 0))
    close(projected, golden["projected"], name="projected")
    for view, mask in enumerate(masks):
        np.testing.assert_array_equal(mask.hidden, golden["masks"][:, view] == 1)
        places = np.asarray(mask.predict)[..., None]
        expected = np.take_along_axis(golden["pixels"][:, view], places, axis=1)
        close(pixels[view], expected, name=f"pixels {view}")


@pytest.mark.proves(
    84, "the contrast sends no gradient to the decoder, pixels none to the projector"
)
def test_what_each_term_reaches():
    _, gradients = run()
    for term, spared in (("contrast", "decoder"), ("pixels", "projector")):
        params, views = gradients[term]
        for path, leaf in named_leaves(params):
            assert np.any(leaf) != path.startswith(f"{spared}/"), (term, path)
        assert all(np.any(views[:, view]) for view in range(2)), term


def test_the_published_recipe():
    """The numbers of PRETRAIN.md and pretrain.py, so that nobody changes one unawares."""
    config = load("vic_mae")
    assert (config.train.batch_size, config.train.epochs) == (4096, 801)
    assert (config.schedule.warmup_epochs, config.schedule.final) == (40, 0.0)
    assert (config.optim.lr, config.optim.lr_per, config.optim.b2) == (1.5e-4, 256, 0.95)
    assert config.optim.weight_decay == 0.05
    assert (config.mask.ratios, config.predicts) == ((0.5, 0.5), (0, 1))
    assert (config.objectives.pixels.scale, config.pairs.contrast.scale) == (0.97, 0.03)
    assert config.pairs.contrast.temperature == 0.1
    projector = config.calls.projector
    assert (projector.layers, projector.hidden, projector["values"]) == (3, 4096, 128)
    assert (projector.norm, projector.activation, projector.biases) == ("batch", "relu", True)
    crops = config.data.augment
    assert (crops.scale, crops.jitter) == ((0.08, 1.0), (0.4, 0.4, 0.2, 0.1))
    assert (crops.jitter_chances, crops.grey_chances) == ((0.8, 0.8), (0.2, 0.2))
    assert (crops.blur_chances, crops.solarise_chances) == ((1.0, 0.0), (0.0, 0.2))
    assert assemble(config, 1_281_167).peak == pytest.approx(2.4e-3)


def test_frames_of_videos_may_be_the_views(tmp_path):
    config = load("vic_mae:tiny,frames")
    assert config.data.decode.brick == "maskmim.data.clips.spread_frames"
    records = assemble(config, 296)
    assert records.spec.size == (32, 32)
    config = load(f"vic_mae:videos={tmp_path}")
    assert config.data.train.path == str(tmp_path)
    assert config.evals.decode.brick == "maskmim.data.clips.middle_frame"
    with pytest.raises(ConfigError, match="videos=DIR"):
        load("vic_mae:frames")
