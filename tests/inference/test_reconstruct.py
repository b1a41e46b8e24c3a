"""Masks that depend on seed and place alone, and predictions in hidden patches only."""

import numpy as np
import pytest

from maskmim.evals.reconstruction import paste_predictions
from maskmim.inference import InferenceError, load
from maskmim.types import Randomness, Variables, random_key
from tests.compiling import quick_jit
from tests.inference.untrained import untrained

IMAGES = np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3), np.uint8)
GREY = 128


@pytest.fixture(scope="module")
def whole(workdir):
    """The model that takes arrays of its size as they are."""
    return load(workdir, batch_size=4, crop=False)


@pytest.fixture(scope="module")
def made(whole):
    return whole.reconstruct(IMAGES, seed=3)


def test_masks(whole, made):
    hidden = whole.mask(IMAGES, seed=3)
    assert hidden.shape == (6, 4, 4) and (hidden.sum(axis=(1, 2)) == 12).all()
    np.testing.assert_array_equal(made.hidden, hidden)
    np.testing.assert_array_equal(whole.mask(9, seed=3)[:6], hidden)
    assert (whole.mask(6, seed=4) != hidden).any() and (hidden[0] != hidden[1]).any()


def test_pictures(whole, made):
    shown = made.hidden.repeat(8, 1).repeat(8, 2)
    np.testing.assert_array_equal(made.input, IMAGES)
    assert len(np.unique(made.masked[shown])) == 1
    for pictures in (made.masked, made.reconstruction, made.raw):
        np.testing.assert_array_equal(pictures[~shown], IMAGES[~shown])
        assert pictures.dtype == np.uint8
    loaded = whole.loaded
    randomness = Randomness(random_key(3), np.arange(4, 6, dtype=np.uint32))
    variables = Variables(*loaded.variables[:2], {})

    def pasted(variables, batch):
        outputs = loaded.method.apply["reconstruct"](variables, batch, randomness)
        return paste_predictions(loaded.method.net, outputs)

    expected = quick_jit(pasted)(variables, {"image": IMAGES[4:]})
    for ours, theirs in ((made.reconstruction, "restored"), (made.raw, "raw")):
        assert np.abs(ours[4:].astype(int) - expected[theirs]).max() <= 1


def test_a_mask_that_is_given(whole, made):
    again = whole.reconstruct(IMAGES, made.hidden)
    np.testing.assert_array_equal(again.hidden, made.hidden)
    assert np.abs(again.reconstruction.astype(int) - made.reconstruction).max() <= 1


def one_hidden(*places):
    mask = np.zeros((len(places), 4, 4), bool)
    for row, count in enumerate(places):
        mask[row].flat[:count] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((3, 3), bool), r"bool\[3, 3\]: give bool\[2, 4, 4\], or bool\[4, 4\]"),
        (np.zeros((4, 4)), r"the mask is float64\[4, 4\]"),
        (one_hidden(3, 4), "hide between 3 and 4 tokens"),
        (one_hidden(0, 0), "hides 0 of 16"),
        (one_hidden(16, 16), "hides 16 of 16"),
    ],
)
def test_masks_that_do_not_fit(whole, mask, words):
    with pytest.raises(InferenceError, match=words):
        whole.reconstruct(IMAGES[:2], mask)


def test_what_cannot_be_reconstructed():
    blank = np.zeros((2, 32, 32, 3), np.uint8)
    with pytest.raises(InferenceError, match="latent_clustering of this config predicts no pixels"):
        untrained("capi", shapes=True).reconstruct(blank)
    with pytest.raises(InferenceError, match=r"mask\(0\): give 1 or more"):
        untrained("capi", shapes=True).mask(0)


@pytest.mark.full
def test_methods_that_take_no_mask():
    blank = np.zeros((2, 32, 32, 3), np.uint8)
    for name, words in (("lut", "the method masked_views"), ("multimae", "several streams")):
        with pytest.raises(InferenceError, match=f"this one has {words}"):
            untrained(name, shapes=True).reconstruct(blank, one_hidden(3, 3))


@pytest.mark.parametrize("count", [1, 3, 6])
def test_a_model_of_mixtures_takes_whole_groups(count):
    model = untrained("mixed_ae", shapes=True)
    for call in (model.mask, model.reconstruct):
        with pytest.raises(InferenceError, match=f"give a multiple of 4 images, not {count};"):
            call(IMAGES[:count])
    with pytest.raises(InferenceError, match="multiple of 4"):
        model.mask(count)


def test_a_model_of_mixtures_takes_no_mask_and_no_odd_batches():
    model = untrained("mixed_ae", shapes=True, batch_size=2)
    with pytest.raises(InferenceError, match=r"no mask can be given .* one of 4 images"):
        model.reconstruct(IMAGES[:4], one_hidden(12, 12, 12, 12))
    with pytest.raises(InferenceError, match="load it with batch_size=4"):
        model.mask(4)
