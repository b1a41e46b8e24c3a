"""Linear CKA against sums over all quadruples of images, and its invariances."""

import itertools
from functools import partial

import jax
import numpy as np
import pytest

from maskmim.checkpoints.load_run import load_trained
from maskmim.config.parse import ConfigError
from maskmim.evals.captured import capturing
from maskmim.evals.cka import cka, independence, similarities
from maskmim.masks.uniform import random
from tests.compiling import quick_jit
from tests.evals.small import source_of, trained_on
from tests.stored import store_run
from tests.tiny import pictures, tiny_method
from tests.tolerances import PARITY


def kernel(features):
    centred = features - features.mean(axis=0)
    return centred @ centred.T


def expected(one, other):
    """HSIC as the mean over all quadruples of different images."""
    terms = [
        one[a, b] * (other[a, b] + other[c, d] - 2 * other[a, c])
        for a, b, c, d in itertools.permutations(range(len(one)), 4)
    ]
    return np.mean(terms)


def test_independence_is_the_mean_over_quadruples():
    rng = np.random.default_rng(0)
    kernels = [kernel(rng.normal(size=(7, 3))) for _ in range(3)]
    hollow = np.stack([each - np.diag(np.diag(each)) for each in kernels])
    found = independence(hollow, hollow[:2])
    for row, column in np.ndindex(3, 2):
        assert found[row, column] == pytest.approx(expected(kernels[row], kernels[column]))


def test_rotations_scales_and_offsets_play_no_part():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 10))
    turned = 5 * features @ np.linalg.qr(rng.normal(size=(10, 10)))[0] + 3
    other = features[:, :4] + 0.3 * rng.normal(size=(60, 4))
    values = similarities([features, turned], [turned, other])
    assert values[0, 0] == pytest.approx(1) and values[1, 0] == pytest.approx(1)
    assert values[0, 1] == pytest.approx(values[1, 1]) and 0.2 < values[0, 1] < 0.9


def test_unrelated_features_have_none_though_they_are_wide():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 100, 400))
    assert abs(similarities([one], [other])[0, 0]) < 0.05
    plain = [each - each.mean(axis=0) for each in (one, other)]
    biased = np.linalg.norm(plain[0].T @ plain[1]) ** 2
    biased /= np.linalg.norm(plain[0].T @ plain[0]) * np.linalg.norm(plain[1].T @ plain[1])
    assert biased > 0.7  # what the plain estimate says


def test_equal_images_have_none():
    assert similarities([np.ones((5, 3))], [np.arange(15.0).reshape(5, 3)])[0, 0] == 0


def test_a_step_is_of_a_run():
    with pytest.raises(ConfigError, match=r"set evals\.measures\.cka\.workdir"):
        next(cka(trained_on(), step=3))


def blocks_of(method, variables, images):
    """Mean patch tokens of both blocks, f[n, D] each, in one call of the encoder."""
    encoded = quick_jit(capturing(method, ("layers",)))(variables, {"image": images})
    return list(np.asarray(encoded.layers, np.float64)[:, :, 1:].mean(axis=2))


def images_of(source):
    return np.concatenate([batch["image"][batch["valid"]] for batch in source.batches(99)])


def values_of(found):
    return {measured.name: measured.value for measured in found}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on 32x32 pixels with checkpoints of steps 2 and 5."""
    return store_run(tmp_path_factory.mktemp("runs") / "other", "mae:tiny", (2, 5))


@pytest.mark.full
def test_another_run_is_read_at_its_step_and_size(run):
    method = tiny_method(mask=partial(random, ratio=0.5))
    variables = method.variables(jax.random.key(0))
    source = source_of(pictures(24))  # 32x24 pixels
    trained = trained_on(method=method, variables=variables, test=source)
    ours = blocks_of(method, variables, images_of(source))
    for step in (2, 5):
        other = load_trained(run, step)
        images = images_of(source._replace(spec=other.spec))
        assert images.shape[1:3] == (32, 32)
        expected = np.diagonal(similarities(ours, blocks_of(other.method, other.variables, images)))
        found = list(cka(trained, workdir=str(run), step=step))
        values = values_of(found)
        np.testing.assert_allclose([values["cka/0"], values["cka/1"]], expected, atol=PARITY)
        assert f"with {run}, step {step}" in found[0].text


def itself(run):
    """The newest step of the run, as a measure sees it."""
    this = load_trained(run)
    assert this.step == 5
    source = source_of(pictures(24))._replace(spec=this.spec)
    about = {"method": this.method, "variables": this.variables, "spec": this.spec}
    return trained_on(test=source, **about)


def test_another_step_of_the_same_run(run):
    found = list(cka(itself(run), workdir=str(run), step=2))
    assert 0.1 < values_of(found)["cka/1"] < 0.999
    assert "step 2, by block" in found[0].text


def test_of_different_depths_the_pairs_are_named(run, monkeypatch):
    blocks = iter([(0, 1), (0,)])
    monkeypatch.setattr("maskmim.evals.cka.chosen_blocks", lambda *_: next(blocks))
    found = list(cka(itself(run), workdir=str(run), step=2))
    assert "step 2, of blocks 0 to 0 of 2 with blocks 0 to 0 of 1: " in found[0].text
    assert set(values_of(found)) == {"cka", "cka/0"}


@pytest.mark.full
def test_the_newest_step_of_the_same_run_is_itself(run):
    values = values_of(cka(itself(run), workdir=str(run)))
    assert values == pytest.approx({"cka": 1, "cka/0": 1, "cka/1": 1})
