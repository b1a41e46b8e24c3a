"""Our reconstruction of MTO: likeness by its formula, recalibration that starts as the host."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.masks.core import nothing_hidden
from maskmim.models.layers.errors import ModelError
from maskmim.models.mto import LIKENESS, likeness, mto_mae, mto_simmim
from maskmim.models.relative_vit import relative_vit_in_place
from maskmim.objectives.singularity import singularity
from tests.comparing import close
from tests.compiling import quick_jit
from tests.tiny import SPEC, pictures

SIZE = {"variant": "2x16x2", "patch": (8, 8)}
HIDDEN = np.arange(24).reshape(2, 12) % 3 == 0
PREDICT = np.stack([np.flatnonzero(row) for row in HIDDEN])


def in_place_mask():
    """A mask of SimMIM's kind: every token enters, a third of them as mask embeddings."""
    mask = nothing_hidden(2, 12)
    weight = jnp.ones(PREDICT.shape, jnp.float32)
    return mask._replace(predict=jnp.asarray(PREDICT), hidden=jnp.asarray(HIDDEN), weight=weight)


def test_likeness_is_the_mean_squared_cosine_to_visible_tokens():
    layers = np.random.default_rng(0).standard_normal((3, 2, 12, 5)).astype(np.float32)
    found = likeness(jnp.asarray(layers), in_place_mask())
    units = layers / np.linalg.norm(layers, axis=-1, keepdims=True)
    for example in range(2):
        shown, wanted = units[:, example, ~HIDDEN[example]], units[:, example, PREDICT[example]]
        expected = np.mean(np.einsum("lpd,lnd->lpn", wanted, shown) ** 2, axis=-1)
        close(found[example], expected.T)
    view = SimpleNamespace(outputs={LIKENESS: found}, mask=in_place_mask())
    loss, weight, metrics, _ = singularity().find(view)
    close(loss, np.mean(found, axis=-1))
    assert weight.shape == PREDICT.shape and set(metrics) == {"block_1", "block_2", "block_3"}
    close(metrics["block_2"].value, np.mean(found[..., 1]))


@pytest.mark.full
def test_it_starts_as_simmim_and_factors_reach_visible_tokens_alone():
    net, host = mto_simmim(SPEC, blocks=1, **SIZE), relative_vit_in_place(SPEC, **SIZE)
    params, mask = net.init(jax.random.key(0)), in_place_mask()
    factor = params["encoder"].pop("mask_bias")
    inputs = net.inputs({"image": pictures(2)})

    @quick_jit
    def run(params, factor):
        ours = {**params, "encoder": {**params["encoder"], "mask_bias": factor}}
        encoded = net.encode(ours, inputs, mask)
        theirs = host.encode(params, inputs, mask)
        expected = host.predict(params, theirs, mask)
        return encoded, net.predict(ours, encoded, mask), expected, net.encode(ours, inputs, None)

    encoded, outputs, expected, whole = run(params, factor)
    close(outputs["pixels"], expected["pixels"])
    assert outputs[LIKENESS].shape == (2, 4, 1)
    # A factor near 0 hides the mask tokens from visible ones, which the first block shows.
    changed, _, _, same = run(params, factor - 50.0)
    np.testing.assert_array_equal(whole.tokens, same.tokens)
    moved = np.any(np.asarray(encoded.layers[0] != changed.layers[0]), axis=-1)
    np.testing.assert_array_equal(moved[:, 0], True)
    np.testing.assert_array_equal(moved[:, 1:], ~HIDDEN)


def test_more_blocks_than_there_are_is_an_error():
    with pytest.raises(ModelError, match=r"model\.blocks=3 of 2"):
        mto_simmim(SPEC, blocks=3, **SIZE)
    with pytest.raises(ModelError, match=r"model\.blocks=9 of 8"):
        mto_mae(SPEC, blocks=9)


def test_hosts_have_their_recipes():
    simmim, mae = load("mto"), load("mto:host=mae")
    assert (simmim.train.batch_size, mae.train.batch_size) == (2048, 4096)
    assert simmim.mask.sampler.ratio == 0.6 and mae.mask.ratio == 0.75
    assert simmim.train.epochs == mae.train.epochs == 400
    assert simmim.objectives.singularity.scale == mae.objectives.singularity.scale == 0.1
