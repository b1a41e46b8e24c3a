"""What is measured at every block: against the encoder asked block by block, in one pass."""

from functools import partial

import jax
import numpy as np
import pytest
import scipy.linalg
import scipy.special

from maskmim.config.parse import ConfigError
from maskmim.evals.attention_distance import attention_distance, mean_distance, patch_distances
from maskmim.evals.captured import block_features, capturing, chosen_blocks
from maskmim.evals.cka import cka
from maskmim.evals.features import Unsuitable
from maskmim.evals.knn import knn
from maskmim.evals.layers import layers
from maskmim.evals.smoothing import high_frequency, mean_cosine, smoothing
from maskmim.evals.spectrum import spectrum
from maskmim.masks.uniform import random
from tests.compiling import quick_jit
from tests.evals.small import source_of, trained_on
from tests.tiny import pictures, tiny_method
from tests.tolerances import PARITY, REORDERED

COUNT = 24


@pytest.fixture(scope="module")
def trained():
    """Two blocks of width 32, larger weights than at first, pictures of two kinds."""
    method = tiny_method(mask=partial(random, ratio=0.5))
    variables = method.variables(jax.random.key(0))
    larger = variables._replace(params=jax.tree.map(lambda leaf: 2 * leaf, variables.params))
    source = source_of(pictures(COUNT), size=16)
    given = {"variables": larger, "before": lambda: variables, "norm_eps": 1e-6}
    return trained_on(method=method, test=source, train=source, training=source, **given)


@pytest.fixture(scope="module")
def encoded(trained):
    """What the encoder captures of all pictures."""
    images = np.concatenate([batch["image"][batch["valid"]] for batch in trained.test.batches(99)])
    encode = capturing(trained.method, ("layers", "embedded", "attention"))
    return quick_jit(encode)(trained.variables, {"image": images})


def values_of(found):
    return {measured.name: measured.value for measured in found}


def test_features_of_blocks_are_those_captured(trained, encoded):
    found = block_features(trained, (0, 1), trained.test.batches(99))
    expected = np.asarray(encoded.layers)[:, :, 1:].mean(axis=2)
    np.testing.assert_allclose(found.features, np.moveaxis(expected, 0, 1), atol=1e-5)
    np.testing.assert_array_equal(found.labels["kind"], np.arange(COUNT) % 2)
    of_class = block_features(trained._replace(pooling="class"), (1,), trained.test.batches(99))
    np.testing.assert_allclose(of_class.features[:, 0], encoded.layers[1][:, 0], atol=1e-5)


def test_blocks_are_named_from_either_end(trained):
    assert chosen_blocks(trained, ()) == (0, 1) and chosen_blocks(trained, (-1, 1, 0)) == (0, 1)
    with pytest.raises(ConfigError, match="no block 2: use 0 to 1"):
        chosen_blocks(trained, (2,))


def test_an_encoder_without_blocks_says_so(trained):
    def plain(variables, batch):
        return trained.method.apply["encode"](variables, batch)

    method = trained.method._replace(apply={**trained.method.apply, "encode": plain})
    with pytest.raises(Unsuitable, match="the last one alone"):
        chosen_blocks(trained._replace(method=method), ())


def test_layers_probe_every_block_in_one_pass(trained, encoded, monkeypatch):
    passes = []
    source = type(trained.test)
    monkeypatch.setattr(source, "batches", counted(source.batches, passes))
    found = list(layers(trained, probe=partial(knn, k=3)))
    assert len(passes) == 2  # training and test images
    values = values_of(found)
    assert set(values) == {"layers", "layers/kind/best", "layers/kind/0", "layers/kind/1"}
    assert values["layers/kind/best"] == max(values["layers/kind/0"], values["layers/kind/1"])
    assert found[0].picture.dtype == np.uint8 and found[0].picture.ndim == 3
    assert values["layers"] in (0, 1) and "kind is best at block" in found[0].text
    (alone, best, _) = layers(trained, blocks=(1,), probe=partial(knn, k=3))
    assert alone.text == "block 1, the only one that was probed" and "by block" not in best.text


def counted(batches, passes):
    def run(self, *arguments, **options):
        passes.append(1)
        return batches(self, *arguments, **options)

    return run


def test_a_probe_without_a_single_top1_is_refused(trained):
    def silent(features):
        yield "linear/kind/lr", 1.0

    with pytest.raises(ConfigError, match="yields 0 numbers"):
        list(layers(trained, probe=silent))


def test_ranks_are_those_of_the_singular_values(trained, encoded):
    found = list(spectrum(trained))
    for block in (0, 1):
        pooled = np.asarray(encoded.layers[block], np.float64)[:, 1:].mean(axis=1)
        values = scipy.linalg.svdvals(pooled - pooled.mean(axis=0))
        shares = values / values.sum() + 1e-7
        expected = np.exp(-(shares * np.log(shares)).sum())
        assert values_of(found)[f"spectrum/rank/{block}"] == pytest.approx(expected, rel=1e-3)
    assert found[0].name == "spectrum" and found[0].value == found[2].value
    assert found[0].picture.ndim == 3


def test_cka_with_the_encoder_before_training(trained):
    values = values_of(cka(trained))
    assert set(values) == {"cka", "cka/0", "cka/1"} and max(values.values()) < 0.999
    assert values["cka"] == pytest.approx((values["cka/0"] + values["cka/1"]) / 2)
    same = values_of(cka(trained._replace(before=lambda: trained.variables)))
    assert same["cka"] == pytest.approx(1.0)


def attention_by_hand(trained, encoded):
    """The attention of the second block [B, heads, n, n], in numpy."""
    blocks = trained.variables.params["encoder"]["stack"]["blocks"]
    blocks = jax.tree.map(lambda leaf: np.asarray(leaf[1], np.float64), blocks)
    x = np.asarray(encoded.layers[0], np.float64)
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    x = x * blocks["norm1"]["norm"]["scale"] + blocks["norm1"]["norm"]["bias"]
    layer = blocks["attention"]["qkv"]
    query, key, _ = (
        np.moveaxis(np.einsum("bnd,dchs->bnchs", x, layer["kernel"]), 2, 0)
        + (layer["bias"][:, None, None])
    )
    scores = np.einsum("bqhs,bkhs->bhqk", query, key) / query.shape[-1] ** 0.5
    return scipy.special.softmax(scores, axis=-1)


def test_distances_are_weighted_by_the_attention_of_patches(trained, encoded):
    found = list(attention_distance(trained, images=99))
    values = values_of(found)
    assert len(found) == 1 + 2 + 2 * 2 and found[0].picture.ndim == 3
    patches = attention_by_hand(trained, encoded)[:, :, 1:, 1:]
    patches /= patches.sum(axis=-1, keepdims=True)
    expected = (patches * patch_distances(trained)).sum(axis=-1).mean(axis=(0, 2))
    heads = [values[f"attention_distance/1/{head}"] for head in range(2)]
    np.testing.assert_allclose(heads, expected, rtol=PARITY)
    assert abs(heads[0] - heads[1]) > 10 * PARITY * heads[0]
    assert values["attention_distance/1"] == pytest.approx(np.mean(heads))


def test_a_distance_by_loops():
    rng = np.random.default_rng(0)
    attention, distances = rng.random((2, 3, 4, 4)).astype("f4"), rng.random((4, 4)).astype("f4")
    found = np.asarray(mean_distance(attention, distances))
    for image, head in np.ndindex(2, 3):
        each = attention[image, head]
        rows = [np.average(distances[q], weights=each[q]) for q in range(4)]
        assert found[image, head] == pytest.approx(np.mean(rows), rel=REORDERED)


def test_patches_lie_on_their_grid(trained):
    distances = patch_distances(trained)  # 4x3 patches of 8x8 pixels
    assert distances.shape == (12, 12)
    assert distances[0, 1] == distances[0, 3] == 8 and distances[0, 4] == pytest.approx(128**0.5)
    assert distances[2, 3] == pytest.approx((8**2 + 16**2) ** 0.5)


def test_tokens_that_are_no_plane_are_refused(trained):
    method = trained.method
    net = method.net._replace(grids={"image": (2, 2, 3)})
    with pytest.raises(Unsuitable, match="tokens are image 2x2x3"):
        patch_distances(trained._replace(method=method._replace(net=net)))
    with pytest.raises(Unsuitable, match="plain ViTs"):
        next(attention_distance(trained._replace(norm_eps=None)))


def test_smoothing_is_the_cosine_and_the_share_beside_the_mean(trained, encoded):
    found = list(smoothing(trained))
    values = values_of(found)
    assert len(values) == 5 and found[0].picture.ndim == 3
    assert values["smoothing"] == values["smoothing/cosine/1"]
    for block in (0, 1):
        tokens = np.asarray(encoded.layers[block], np.float64)[:, 1:]
        unit = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
        pairs = np.triu_indices(tokens.shape[1], k=1)
        cosine = (unit @ unit.swapaxes(1, 2))[:, *pairs].mean()
        assert values[f"smoothing/cosine/{block}"] == pytest.approx(cosine, rel=PARITY)
        spread = tokens - tokens.mean(axis=1, keepdims=True)
        shares = np.linalg.norm(spread, axis=(1, 2)) / np.linalg.norm(tokens, axis=(1, 2))
        share = values[f"smoothing/high_frequency/{block}"]
        assert share == pytest.approx(shares.mean(), rel=PARITY)


def test_the_high_frequencies_are_all_but_the_lowest_of_the_grid():
    grid = np.random.default_rng(0).normal(0.7, 1.0, (3, 4, 5, 6)).astype(np.float32)
    power = (np.abs(np.fft.fft2(grid, axes=(1, 2))) ** 2).sum(axis=-1)
    shares = np.sqrt(1 - power[:, 0, 0] / power.sum(axis=(1, 2)))
    found = high_frequency(grid.reshape(3, 20, 6))
    np.testing.assert_allclose(found, shares, rtol=PARITY)


def test_equal_tokens_are_smooth_and_tokens_at_right_angles_are_not():
    equal, apart = np.ones((2, 4, 4), np.float32), np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    np.testing.assert_allclose(mean_cosine(equal), 1.0, atol=1e-6)
    np.testing.assert_allclose(high_frequency(equal), 0.0, atol=1e-6)
    np.testing.assert_allclose(mean_cosine(apart), 0.0, atol=1e-6)
    np.testing.assert_allclose(high_frequency(apart), np.sqrt(3 / 4), atol=1e-6)
