"""FG-MAE: targets, predictions, loss and gradients equal those of the official code."""

from functools import cache, partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.interop.layout import arrays_of, check_covered, params_of
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_scores
from maskmim.methods.masked import masked
from maskmim.models.masked_vit import vit_mae
from maskmim.objectives.matching import match
from maskmim.targets.differences import normalised_differences
from maskmim.targets.hog import cells_to_patches, hog, hog_patches
from maskmim.targets.standardised import standardised
from maskmim.training.build import build_method
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Mask, Randomness, Spec, Variables
from tests.comparing import close
from tests.golden.fg_mae import case
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

SIDE = case.IMAGE // case.PATCH
SPEC = Spec(
    (case.IMAGE, case.IMAGE), case.BANDS, (0.0,) * case.BANDS, (1.0,) * case.BANDS, dtype="float32"
)
TARGETS = {"hog": partial(hog_patches, window=16), "ndi": normalised_differences}
HEADS = {"hog": 468, "ndi": 768}


def official_mask(randomness, context) -> Mask:
    """The official masks: the smallest noise is visible."""
    return from_scores(-jnp.asarray(case.noise()), ratio=case.HIDDEN / SIDE**2)


@cache
def method():
    """FG-MAE for Sentinel-2 at the case's size."""
    depth, width, heads = case.DECODER
    return masked(
        SPEC,
        model=partial(
            vit_mae,
            variant="x".join(map(str, case.ENCODER)),
            patch=(case.PATCH, case.PATCH),
            decoder_depth=depth,
            decoder_width=width,
            decoder_heads=heads,
            heads=HEADS,
        ),
        mask=official_mask,
        objectives={
            name: partial(
                match, head=name, target=partial(standardised, target=target), loss=squared_error
            )
            for name, target in TARGETS.items()
        },
        teachers={},
    )


def key():
    return jax.random.key(0)


def stored(golden, name: str, size: int) -> np.ndarray:
    """Return a stored array of a size, flat, NaN where nothing is stored."""
    every = np.full(size, np.nan)
    every[:: case.EVERY] = golden[name]
    return every


def close_where_stored(ours, theirs, name):
    """Compare flat arrays where theirs are numbers."""
    known = ~np.isnan(theirs)
    if known.any():
        close(np.ravel(ours)[known], theirs[known], name=name)


@pytest.mark.proves(
    142, "both targets, predictions, loss and all gradients equal the official code's"
)
def test_equals_the_official_model():
    golden = np.load(case.GOLDEN)
    net = method().net
    shapes = {path: leaf.shape for path, leaf in named_leaves(jax.eval_shape(net.init, key()))}
    check_covered(case.layout(), shapes, "the official layout")
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape), jax.eval_shape(net.init, key()))
    official = {name: a.shape for name, a in arrays_of(case.layout(), blank).items()}
    params = params_of(case.layout(), shapes, {n: case.weight(n, s) for n, s in official.items()})
    batch = {"image": case.pictures().transpose(0, 2, 3, 1)}
    randomness = Randomness.of(key(), case.EXAMPLES)

    @jax.jit
    def run(params):
        mask = official_mask(randomness, Context(batch, net.grids, {}))
        outputs = net.predict(params, net.encode(params, net.inputs(batch), mask), mask)

        def loss(params):
            terms = method().loss(Variables(params, {}, {}), batch, randomness, 0.0).terms
            return terms["hog"].value + terms["ndi"].value

        return outputs, *jax.value_and_grad(loss)(params)

    outputs, loss, gradients = run(params)
    predicted = np.asarray(official_mask(None, None).predict)[0]
    for name, width in HEADS.items():
        expected = stored(golden, name, SIDE**2 * width).reshape(-1, width)[predicted]
        close_where_stored(outputs[name][0], expected.ravel(), name)
    close(loss, golden["loss"], name="loss")
    ours = arrays_of(case.layout(), gradients)
    sizes = [int(np.prod(shape)) for shape in official.values()]
    expected = np.split(stored(golden, "gradients", sum(sizes)), np.cumsum(sizes)[:-1])
    for name, theirs in zip(official, expected, strict=True):
        close_where_stored(ours[name], theirs, name)
        assert np.any(ours[name]), name


def whole_view(images, net=None):
    """Return the parts of a View that targets read, with every token predicted."""
    context = Context({}, {"image": (SIDE, SIDE)}, {})
    mask = SimpleNamespace(predict=jnp.arange(SIDE**2)[None])
    return SimpleNamespace(inputs=jnp.asarray(images), context=context, mask=mask, net=net)


@pytest.mark.proves(142, "HOG of any number of channels and NDI equal the official targets")
def test_targets_equal_the_official_ones():
    golden = np.load(case.GOLDEN)
    images = case.pictures().transpose(0, 2, 3, 1)
    for name, target in TARGETS.items():
        ours = np.asarray(target(whole_view(images, method().net)))
        theirs = stored(golden, f"target_{name}", ours.size)
        known = ~np.isnan(theirs)
        np.testing.assert_allclose(ours.ravel()[known], theirs[known], atol=PARITY, rtol=0)
    plain = np.asarray(hog_patches(whole_view(images))).ravel()
    with_window = stored(golden, "target_hog", plain.size)
    known = ~np.isnan(with_window)
    assert np.abs(plain[known] - with_window[known]).max() > 0.1, "the window changes nothing"

    pair = case.pictures(case.OTHER_BANDS).transpose(0, 2, 3, 1)
    cells = hog(pair, cell=case.OTHER_PATCH // 2, window=16)
    ours = np.asarray(cells_to_patches(cells, (case.IMAGE // case.OTHER_PATCH,) * 2))
    assert ours.shape == (1, 256, 72)
    theirs = stored(golden, "target_other", ours.size)
    known = ~np.isnan(theirs)
    np.testing.assert_allclose(ours.ravel()[known], theirs[known], atol=PARITY, rtol=0)


@pytest.mark.parametrize(
    ("argument", "channels", "heads"),
    [
        ("sar,path=pictures", 2, {"hog": 72}),
        ("s2,path=pictures", 13, {"hog": 468, "ndi": 768}),
        ("s2,variant=H/14,epochs=400,path=pictures", 13, {"hog": 468, "ndi": 588}),
    ],
)
def test_the_published_recipe(argument, channels, heads):
    config = load(f"configs/fg_mae.py:{argument}")
    optim, schedule = config.optim, config.schedule
    assert config.input.channels == channels and config.model.heads.to_dict() == heads
    assert (config.train.batch_size, config.mask.ratio) == (256, 0.7)
    assert (optim.lr, optim.lr_per, optim.weight_decay) == (1.5e-4, 256, 0.05)
    assert (optim.b1, optim.b2, schedule.final) == (0.9, 0.95, 0.0)
    assert schedule.warmup_epochs == config.train.epochs / 10
    _, built = build_method(config)

    def shapes(key):
        batch = {"image": jnp.zeros((1, 224, 224, channels), jnp.uint8)}
        variables = Variables(built.net.init(key), {}, {})
        return built.loss(variables, batch, Randomness.of(key, 1), 0.0).terms

    assert set(jax.eval_shape(shapes, key())) == set(heads)
