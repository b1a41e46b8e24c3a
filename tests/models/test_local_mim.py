"""LocalMIM: equal to the official code; each scale is predicted from its own block."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.interop.layout import arrays_of, check_covered, params_of
from maskmim.losses.regression import squared_error
from maskmim.masks.core import from_scores
from maskmim.methods.masked import masked
from maskmim.models.layers.errors import ModelError
from maskmim.models.local_mim import vit_local_mim
from maskmim.objectives.matching import match
from maskmim.targets.hog import cells_to_patches, hog, hog_patches
from maskmim.training.build import build_method
from maskmim.tree_paths import named_leaves
from maskmim.types import Context, Mask, Randomness, Spec, Variables
from tests.comparing import close
from tests.golden.local_mim import case
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

SPEC = Spec((case.IMAGE, case.IMAGE), 3, (0.0,) * 3, (1.0,) * 3, dtype="float32")
GRID = (case.IMAGE // case.PATCH,) * 2
CELLS = {"quarter": 4, "half": 8, "whole": 16, "double": 32}
RANDOMNESS = Randomness.of(jax.random.key(0), case.EXAMPLES)


def model(**changes):
    """Return a brick spec -> Net of the case's size."""
    keywords = {
        "variant": "x".join(map(str, case.ENCODER)),
        "patch": (case.PATCH, case.PATCH),
        "taps": case.TAPS,
        "decoder_depth": case.DECODER[0],
        "decoder_width": case.DECODER[1],
        "decoder_heads": case.DECODER[2],
    }
    return partial(vit_local_mim, **{**keywords, **changes})


def official_mask(randomness, context) -> Mask:
    """The official masks: the smallest noise is visible."""
    return from_scores(-jnp.asarray(case.noise()), ratio=case.RATIO)


@cache
def method():
    """LocalMIM at the case's size."""
    return masked(
        SPEC,
        model=model(),
        mask=official_mask,
        objectives={
            scale: partial(
                match,
                head=scale,
                target=partial(hog_patches, bins=case.BINS, cell=cell),
                loss=squared_error,
            )
            for scale, cell in CELLS.items()
        },
        teachers={},
    )


@cache
def computed():
    """Return (predictions, loss, gradients, {scale: gradients of that term}), official weights."""
    net = method().net
    shapes = {path: leaf.shape for path, leaf in named_leaves(jax.eval_shape(net.init, key()))}
    check_covered(case.layout(), shapes, "the official layout")
    weights = {name: case.weight(name, shape) for name, shape in official_shapes().items()}
    params = params_of(case.layout(), shapes, weights)
    batch = {"image": case.pictures().transpose(0, 2, 3, 1)}

    def terms(params):
        losses = method().loss(Variables(params, {}, {}), batch, RANDOMNESS, 0.0)
        return jnp.stack([losses.terms[scale].value for scale in CELLS])

    @jax.jit
    def run(params):
        mask = official_mask(RANDOMNESS, Context(batch, net.grids, {}))
        outputs = net.predict(params, net.encode(params, net.inputs(batch), mask), mask)
        values, pull = jax.vjp(terms, params)
        each = jax.vmap(lambda weights: pull(weights)[0])(jnp.eye(len(CELLS)))
        return outputs, jnp.sum(values), each

    outputs, loss, each = run(params)
    whole = jax.tree.map(lambda leaf: leaf.sum(axis=0), each)
    by_scale = {
        scale: jax.tree.map(lambda leaf, n=n: np.asarray(leaf[n]), each)
        for n, scale in enumerate(CELLS)
    }
    return outputs, loss, whole, by_scale


def key():
    return jax.random.key(0)


def official_shapes() -> dict[str, tuple[int, ...]]:
    """Return {official name: shape}."""
    blank = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape), jax.eval_shape(method().net.init, key())
    )
    return {name: array.shape for name, array in arrays_of(case.layout(), blank).items()}


def as_tokens(cells: np.ndarray, scale: str, values: int) -> np.ndarray:
    """Return official values of cells [cells, values] as our values of all tokens."""
    side = case.IMAGE // CELLS[scale]
    by_channel = cells.reshape(1, side, side, values, 1)
    return np.asarray(cells_to_patches(jnp.asarray(by_channel), GRID))[0]


@pytest.mark.proves(65, "predictions of all scales, loss and gradients equal the official code's")
def test_equals_the_official_model():
    golden = np.load(case.GOLDEN)
    outputs, loss, gradients, _ = computed()
    predicted = np.asarray(official_mask(None, None).predict)[0]
    for scale in CELLS:
        expected = as_tokens(golden[scale], scale, 27)[predicted]
        close(outputs[scale][0], expected, name=scale)
    close(loss, golden["loss"], name="loss")
    ours = arrays_of(case.layout(), gradients)
    flat = np.concatenate([np.ravel(ours[name]) for name in official_shapes()])
    ends = np.cumsum([np.prod(shape) for shape in official_shapes().values()])
    stored = np.full(flat.size, np.nan)
    stored[:: case.EVERY] = golden["gradients"]
    for name, a, b in zip(
        official_shapes(), np.split(flat, ends[:-1]), np.split(stored, ends[:-1]), strict=True
    ):
        known = ~np.isnan(b)
        if known.any():
            close(a[known], b[known], name=name)
        assert np.any(a), name


@pytest.mark.proves(65, "HOG of cells of 4 to 32 pixels, with a bias, equals the official layer's")
def test_histograms_equal_the_official_ones():
    golden = np.load(case.GOLDEN)
    images = case.pictures()[:1].transpose(0, 2, 3, 1)
    for scale, cell in CELLS.items():
        ours = np.asarray(hog(images, bins=case.MANY_BINS, cell=cell, shift=case.SHIFT))
        ours = ours.reshape(-1, 3 * case.MANY_BINS)[:: 7 if scale == "quarter" else 1]
        np.testing.assert_allclose(ours, golden[f"hog_{scale}"], atol=PARITY, rtol=0)
        without = np.asarray(hog(images, bins=case.MANY_BINS, cell=cell))
        assert np.abs(without.reshape(-1, 3 * case.MANY_BINS)[0] - ours[0]).max() > 0.01


@pytest.mark.proves(65, "the loss of a scale trains the blocks up to its tap and its own decoder")
def test_a_scale_trains_the_blocks_up_to_its_tap():
    *_, by_scale = computed()
    for scale, block in case.TAPS.items():
        gradients = by_scale[scale]
        assert np.any(gradients["encoder"]["embed"]["kernel"]), scale
        for path, leaf in named_leaves(gradients["encoder"]["stack"]):
            moved = np.abs(leaf).reshape(len(leaf), -1).max(axis=1) > 0
            expected = np.arange(len(leaf)) < block
            np.testing.assert_array_equal(moved, expected, err_msg=f"{scale} {path}")
        for path, leaf in named_leaves(gradients["decoder"]):
            own = path.split("/")[0] in (scale, f"{scale}_norm")
            assert np.any(leaf) == own, (scale, path)


def test_a_coarse_cell_counts_by_the_share_of_it_that_is_hidden():
    """Against the official formula: the mean over cells with the mask's mean as their weight."""
    outputs, *_ = computed()
    mask = official_mask(None, None)
    images = case.pictures().transpose(0, 2, 3, 1)
    target = np.asarray(hog(images, cell=32)).reshape(case.EXAMPLES, 4, 27)
    share = np.asarray(mask.hidden).reshape(-1, 2, 2, 2, 2).mean(axis=(2, 4)).reshape(-1, 4)
    row, column = np.asarray(mask.predict) // 4, np.asarray(mask.predict) % 4
    cell = row // 2 * 2 + column // 2
    prediction = np.full((case.EXAMPLES, 4, 27), np.nan)
    for example in range(case.EXAMPLES):
        prediction[example, cell[example]] = outputs["double"][example]
    error = np.nan_to_num(((prediction - target) ** 2).mean(axis=-1))
    assert len(np.unique(share)) > 1, "the shares must differ for the weights to matter"
    expected = (error * share).sum() / share.sum()
    taken = np.take_along_axis(target, cell[..., None], axis=1)
    ours = np.mean((np.asarray(outputs["double"]) - taken) ** 2, axis=-1).mean()
    np.testing.assert_allclose(ours, expected, rtol=PARITY)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"taps": {"third": 7}}, "unknown scale third"),
        ({"taps": {"quarter": 2, "double": 5}}, "one tap must be on the last block"),
        ({"patch": (64, 64)}, "double cells do not fill a grid of 1x1"),
    ],
)
def test_taps_that_do_not_fit_are_an_error(changes, words):
    with pytest.raises(ModelError, match=words):
        model(**changes)(SPEC)


@pytest.mark.parametrize(
    ("argument", "taps", "bins", "rate", "batch", "epochs"),
    [
        ("", (2, 4, 10, 12), 9, 1.6e-3, 2048, 1600),
        ("variant=L,epochs=800", (2, 4, 22, 24), 18, 2.4e-3, 4096, 800),
    ],
)
def test_the_published_recipe(argument, taps, bins, rate, batch, epochs):
    config = load(f"configs/local_mim.py:{argument}".rstrip(":"))
    optim, schedule = config.optim, config.schedule
    assert config.model.taps.to_dict() == dict(zip(CELLS, taps, strict=True))
    assert {name: term.target.cell for name, term in config.objectives.items()} == CELLS
    assert {term.target.bins for term in config.objectives.values()} == {bins}
    assert config.model.cell_values == 3 * bins
    assert optim.lr * batch / optim.lr_per == pytest.approx(rate)
    assert (config.train.batch_size, config.train.epochs) == (batch, epochs)
    assert schedule.final * rate == pytest.approx(1e-6) and schedule.warmup_epochs == 40
    _, built = build_method(config)
    assert built.net.grids == {"image": (14, 14)}
