"""MW-MAE: equal to the official model, and what a windowed head sees."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.interop.layout import arrays_of
from maskmim.losses import squared_error
from maskmim.masks.core import from_scores
from maskmim.models.layers.attention import plain_attention
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.head_windows import (
    HeadWindowBlock,
    bias_counts,
    bias_places,
    biased_attention,
)
from maskmim.models.mw_mae import vit_mw_mae
from maskmim.objectives import match
from maskmim.targets.pixels import patches
from maskmim.types import Context, Mean, Spec, View, random_key
from tests.comparing import close
from tests.golden.mw_mae import case
from tests.golden.official_weights import params_by_name

full = pytest.mark.full
LENGTH, SIZE = 12, 4


@cache
def official_case():
    """Loss, predictions, predicted tokens and gradients for the official weights, and names."""
    depth, width, heads = case.ENCODER
    net = vit_mw_mae(
        Spec(case.SIZE, 1, (0.0,), (1.0,), "audio", "float32"),
        variant=f"{depth}x{width}x{heads}",
        patch=case.PATCH,
        decoder_depth=case.DECODER[0],
        decoder_width=case.DECODER[1],
        windows=case.WINDOWS,
    )
    batch = {"audio": case.spectrograms()}
    term = match(head="pixels", target=patches, loss=squared_error)

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def run(params):
        mask = from_scores(-jnp.asarray(case.noise()), ratio=case.RATIO)
        inputs = net.inputs(batch)
        encoded = net.encode(params, inputs, mask)
        outputs = net.predict(params, encoded, mask)
        view = View(net, Context(batch, net.grids, {}), inputs, mask, encoded, outputs, {})
        loss, weight, _, _ = term.find(view)
        return Mean(jnp.sum(loss * weight), jnp.sum(weight)).value, (outputs, mask.predict)

    shapes = jax.eval_shape(net.init, random_key(0))
    params, theirs = params_by_name(case.layout(), shapes, case.weight)
    return run(params), theirs


@full
@pytest.mark.proves(128, "predictions, the loss and all gradients equal the official model's")
def test_equals_the_official_model():
    golden = np.load(case.GOLDEN)
    ((loss, (outputs, predict)), gradients), theirs = official_case()
    np.testing.assert_array_equal(predict, golden["predict"])
    close(outputs["pixels"], golden["predictions"], name="predictions")
    close(loss, golden["loss"], name="loss")
    ends = np.cumsum([np.prod(shape) for shape in theirs.values()])
    ours = arrays_of(case.layout(), gradients)
    expected = np.split(golden["gradients"], ends[:-1])
    for (name, shape), gradient in zip(theirs.items(), expected, strict=True):
        close(ours[name], gradient.reshape(shape), name=name)
        assert np.any(ours[name]), name


def biases_of(tables: list[np.ndarray], windows: tuple[int, ...]) -> np.ndarray:
    """Biases f32[heads, n, n] of one table for each head with windows, by plain loops."""
    found, tables = np.zeros((len(windows), LENGTH, LENGTH), np.float32), list(tables)
    for head, side in enumerate(windows):
        table = tables.pop(0) if side else None
        for query in range(LENGTH):
            for key in range(LENGTH):
                if side and query // side == key // side:
                    found[head, query, key] = table[query - key + side - 1]
                elif side:
                    found[head, query, key] = np.finfo(np.float32).min
    return found


@pytest.mark.proves(128, "every head has biases of its own by offset, none between windows")
@pytest.mark.parametrize("windows", [(2, 0, 6, 12), (3, 3), (0,), (1, 12)])
def test_biases_equal_plain_loops(windows):
    rng = np.random.default_rng(0)
    tables = [rng.standard_normal(n).astype(np.float32) for n in bias_counts(windows) if n]
    row = np.concatenate([*tables, np.float32([0, np.finfo(np.float32).min])])
    np.testing.assert_array_equal(row[bias_places(windows, LENGTH)], biases_of(tables, windows))


@pytest.mark.proves(
    128, "a window of all tokens is plain attention with a bias, 0 is plain attention"
)
def test_a_window_of_everything_is_plain_attention():
    rng = np.random.default_rng(1)
    query, key, value = rng.standard_normal((3, 2, 2, LENGTH, SIZE)).astype(np.float32)
    table = rng.standard_normal(2 * LENGTH - 1).astype(np.float32)
    found = biased_attention(query, key, value, bias=biases_of([table], (LENGTH, 0)))
    np.testing.assert_allclose(
        found[:, 1], plain_attention(query, key, value)[:, 1], rtol=1e-5, atol=1e-6
    )
    offset = np.arange(LENGTH)[:, None] - np.arange(LENGTH) + LENGTH - 1
    scores = query[:, 0] @ key[:, 0].swapaxes(1, 2) / np.sqrt(SIZE) + table[offset]
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(found[:, 0], weights @ value[:, 0], rtol=1e-5, atol=1e-6)


@full
@pytest.mark.proves(128, "a token changes what comes out inside its window alone, bit for bit")
def test_a_token_stays_inside_its_window():
    block = HeadWindowBlock((2, 4), 8, 1e-6, jnp.float32)
    tokens = jax.random.normal(random_key(1), (1, LENGTH, 2 * SIZE), jnp.float32)
    variables = jax.jit(block.init)(random_key(0), tokens, None)
    run = jax.jit(lambda x: block.apply(variables, x, None)[0])
    first, second = run(tokens), run(tokens.at[:, 5].add(1.0))
    changed = np.any(np.asarray(first != second), axis=(0, 2))
    np.testing.assert_array_equal(np.flatnonzero(changed), [4, 5, 6, 7])
    assert variables["params"]["window_bias"].shape == (3 + 7,)


@pytest.mark.parametrize("windows", [(2, 5), ()])
def test_windows_that_do_not_fit_are_named(windows):
    spec = Spec(case.SIZE, 1, (0.0,), (1.0,), "audio", "float32")
    with pytest.raises(ModelError, match=r"model\.windows"):
        vit_mw_mae(spec, variant="nano", patch=case.PATCH, windows=windows)


def test_the_published_recipe():
    config = load("mw_mae")
    assert (config.train.epochs, config.train.batch_size, config.mask.ratio) == (100, 1024, 0.8)
    assert (config.optim.lr, config.optim.lr_per, config.optim.b2) == (1.5e-5, 256, 0.999)
    assert (config.optim.weight_decay, config.optim.no_decay) == (0.05, ())
    assert (config.schedule.warmup_epochs, config.input.size) == (10, (200, 80))
    assert config.model.windows == (2, 5, 10, 25, 50, 125, 0, 0)
    assert (config.model.patch, config.model.decoder_width) == ((4, 16), 384)
