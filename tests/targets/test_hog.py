"""HOG targets against torch and against the official layer, and their invariances."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from maskmim.config.facts import facts_of
from maskmim.targets.hog import TargetError, gaussian_windows, hog, hog_patches
from maskmim.types import Context, Mask, View
from tests.running import ROOT
from tests.tolerances import PARITY

pytestmark = pytest.mark.full

GOLDEN = ROOT / "tests/golden/maskfeat_hog/values.npz"
ANGLES = (5.0, 24.0, 50.0, 77.0, 101.0, 146.0, 170.0)  # degrees, none on the border of two bins


def view(images, grid, predict=None):
    """Return the parts of a View that `hog_patches` reads."""
    if predict is None:
        predict = jnp.tile(jnp.arange(math.prod(grid)), (len(images), 1))
    context = Context({}, {"image": grid}, {})
    return SimpleNamespace(
        inputs=jnp.asarray(images), context=context, mask=SimpleNamespace(predict=predict)
    )


def noise(shape, seed=0):
    """Return normal numbers rounded to float16, so that small sums are exact in float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float16).astype(np.float32)


def torch_hog(images, bins, cell):
    """Return normal numbers rounded to float16, for exact small sums in float32."""
    image = torch.from_numpy(images).permute(0, 3, 1, 2)
    channels = image.shape[1]
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1), mode="reflect")
    kernel = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 0, -1]))
    weights = [k.expand(channels, 1, 3, 3) for k in (kernel, kernel.T)]
    gx, gy = (torch.conv2d(padded, weight, groups=channels) for weight in weights)
    place = torch.floor(torch.atan2(gx, gy) / math.pi * bins).long().remainder(bins)
    votes = torch.zeros(*image.shape[:2], bins, *image.shape[2:])
    votes.scatter_add_(2, place[:, :, None], torch.hypot(gx, gy)[:, :, None])
    sums = torch.nn.functional.avg_pool2d(votes.flatten(1, 2), cell) * cell**2
    sums = sums.unflatten(1, (channels, bins))
    return torch.nn.functional.normalize(sums, dim=2).numpy()


def grating(degrees, size=48, period=11.0):
    """Return a sine whose gradient is at `degrees` from down to right: f32[1, size, size, 1]."""
    down, right = np.mgrid[:size, :size]
    turn = np.deg2rad(degrees)
    wave = np.sin(2 * np.pi / period * (right * np.sin(turn) + down * np.cos(turn)))
    return wave[None, ..., None].astype(np.float32)


def dominant(image):
    """Return the strongest bin over the inner cells of one picture of one channel."""
    return int(np.asarray(hog(image))[0, 1:-1, 1:-1, 0].sum(axis=(0, 1)).argmax())


@pytest.mark.proves(31, "HOG equals an independent implementation in torch")
@pytest.mark.parametrize(
    ("size", "channels", "bins", "cell"), [((32, 48), 3, 9, 8), ((30, 12), 1, 6, 6)]
)
def test_hog_equals_torch(size, channels, bins, cell):
    images = noise((2, *size, channels))
    ours = np.asarray(jax.jit(lambda x: hog(x, bins=bins, cell=cell))(images))
    theirs = torch_hog(images, bins, cell).transpose(0, 3, 4, 1, 2)
    assert ours.shape == theirs.shape == (2, size[0] // cell, size[1] // cell, channels, bins)
    np.testing.assert_allclose(ours, theirs, atol=PARITY)


@pytest.mark.proves(31, "HOG and its order in a patch equal the official code's")
def test_targets_equal_the_official_ones():
    """Values by channel, bin, row and column of the cell; recorded by maskfeat_hog_record.py."""
    with np.load(GOLDEN) as stored:
        golden = dict(stored)
    images = golden["images"].astype(np.float32)
    cells = np.asarray(hog(images))
    np.testing.assert_allclose(
        cells.transpose(0, 3, 4, 1, 2), golden["histograms"], atol=PARITY, rtol=0
    )
    targets = np.asarray(hog_patches(view(images, (2, 2))))
    assert targets.shape == (3, 4, 108) and targets.dtype == np.float32
    np.testing.assert_allclose(targets, golden["targets"], atol=PARITY, rtol=0)
    assert np.abs(np.sort(targets) - targets).max() > 0.1  # an order, not a constant


@pytest.mark.parametrize("bins", [6, 9])
def test_compiled_or_not_the_bins_are_the_same(bins):
    """On the rim one of the differences is 0, and the gradient on a border of two bins."""
    images = noise((2, 16, 24, 3))
    plain = hog(images, bins=bins)
    np.testing.assert_allclose(jax.jit(lambda x: hog(x, bins=bins))(images), plain, atol=PARITY)


def test_targets_are_those_of_the_predicted_patches():
    images, predict = noise((2, 32, 48, 3)), jnp.array([[0, 4], [2, 5]])
    all_patches = hog_patches(view(images, (2, 3)))
    targets = hog_patches(view(images, (2, 3), predict))
    for example in range(2):
        np.testing.assert_array_equal(targets[example], all_patches[example][predict[example]])


@pytest.mark.proves(31, "turning a grating by 90 degrees moves the dominant bin by 4 or 5 of 9")
@pytest.mark.parametrize("degrees", ANGLES)
def test_the_dominant_bin_turns_with_the_picture(degrees):
    image = grating(degrees)
    first, turned = dominant(image), dominant(np.rot90(image, axes=(1, 2)).copy())
    assert first == math.floor(degrees / 20)
    assert (turned - first) % 9 in (4, 5)


@pytest.mark.proves(31, "HOG does not change with contrast, sign and brightness of a channel")
def test_contrast_changes_nothing():
    images = noise((2, 32, 32, 3))
    for factor, shift in ((4.0, 0.0), (0.25, 2.0), (-1.0, 0.0), (np.float32([2, 0.5, 8]), 1.0)):
        changed = hog((images * factor + shift).astype(np.float32))
        np.testing.assert_allclose(changed, hog(images), atol=PARITY)


def test_histograms_have_length_one_and_flat_cells_none():
    images = noise((1, 32, 32, 3)) * 0.1
    images[:, :16, :16] = 1 / 3  # not exact in binary
    lengths = np.linalg.norm(hog(images), axis=-1)
    np.testing.assert_array_equal(lengths[:, 0, 0], 0.0)
    lengths[:, 0, 0] = 1.0
    np.testing.assert_allclose(lengths, 1.0, rtol=1e-5)


def test_channels_do_not_mix():
    images = noise((1, 16, 16, 3))
    alone = np.concatenate([hog(images[..., c : c + 1]) for c in range(3)], axis=-2)
    np.testing.assert_allclose(hog(images), alone, atol=1e-6)


def test_no_gradient_passes():
    images = noise((1, 32, 32, 3))
    images[:, :16] = 0.0  # where the square root has no derivative
    gradient = jax.grad(lambda x: jnp.sum(hog_patches(view(x, (2, 2))) ** 2))(jnp.asarray(images))
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize(
    ("shape", "grid", "keywords", "words"),
    [
        ((1, 32, 32, 3), (4, 4), {"cell": 3}, "patches of 8x8 pixels .* cells of 3x3"),
        ((1, 32, 24, 3), (4, 2), {}, "patches of 8x12 pixels .* cells of 8x8"),
        ((1, 32, 64, 3), (4, 4), {"cell": 16}, "patches of 8x16 pixels .* cells of 16x16"),
        ((1, 4, 32, 32, 3), (2, 4, 4), {}, "not pictures"),
    ],
)
def test_cells_that_do_not_fit_are_an_error(shape, grid, keywords, words):
    with pytest.raises(TargetError, match=words):
        hog_patches(view(np.zeros(shape, np.float32), grid), **keywords)


def test_cells_and_windows_that_do_not_fill_a_picture_are_an_error():
    with pytest.raises(TargetError, match=r"images of 20x16 pixels .* cells of 8x8"):
        hog(jnp.zeros((1, 20, 16, 3)))
    with pytest.raises(TargetError, match=r"images of 24x16 pixels .* windows of 16x16"):
        hog(jnp.zeros((1, 24, 16, 3)), window=16)


def test_patches_of_a_coarse_cell_have_its_histogram():
    images = noise((2, 32, 48, 3))
    targets = np.asarray(hog_patches(view(images, (4, 6)), cell=16)).reshape(2, 4, 6, 27)
    cells = np.asarray(hog(images, cell=16)).reshape(2, 2, 3, 27)
    np.testing.assert_array_equal(targets, cells.repeat(2, axis=1).repeat(2, axis=2))


def test_a_window_weights_gradients_by_a_gaussian_about_its_centre():
    weights = gaussian_windows(32, 48, 16)
    off = (np.arange(16) - 7.5) / 8
    square = np.exp(-0.5 * (off[:, None] ** 2 + off**2))
    np.testing.assert_allclose(weights[16:, 32:], square / square.sum(), rtol=1e-5)
    np.testing.assert_array_equal(weights[:16, :16], weights[16:, 32:])


def test_a_shift_is_a_gradient_of_flat_parts():
    """A shift of (1, 1) is a gradient at 45 degrees: bin 2 of 9."""
    flat = np.zeros((1, 16, 16, 1), np.float32)
    np.testing.assert_array_equal(np.argmax(hog(flat, shift=(1.0, 1.0))[0, :, :, 0], -1), 2)
    np.testing.assert_array_equal(hog(flat), 0.0)


def test_true_and_predicted_histograms_are_drawn():
    """All strokes, and those of a prediction of nothing, black where it was predicted."""
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(2, 32, 32, 3)).astype(np.float32))
    predict = jnp.array([[0, 3], [1, 2]])
    hidden = jnp.zeros((2, 4), bool).at[jnp.arange(2)[:, None], predict].set(True)
    mask = Mask(predict, predict, hidden, jnp.ones((2, 2)))
    net = SimpleNamespace(display=lambda x: jnp.clip(x * 50 + 128, 0, 255).astype(jnp.uint8))
    context = Context({}, {"image": (2, 2)}, {})
    view = View(net, context, images, mask, None, {}, {})
    shows = facts_of(hog_patches).shows
    for changes, values in (({"cell": 4}, 432), ({"cell": 32}, 27), ({"window": 16}, 108)):
        drawn = list(shows(view, jnp.zeros((2, 2, values)), **changes).values())
        assert drawn[2].max() == 255 and drawn[2].shape == (2, 32, 32, 3)
    columns = shows(view, jnp.zeros((2, 2, 108)))
    assert list(columns) == ["picture", "what is seen", "HOG", "HOG, predicted where hidden"]
    target, prediction = (np.asarray(columns[name]) for name in list(columns)[2:])
    assert target.shape == prediction.shape == (2, 32, 32, 3) and target.max() == 255
    blank = np.asarray(hidden).reshape(2, 2, 2).repeat(16, 1).repeat(16, 2)
    assert not prediction[blank].any() and target[blank].any()
    assert prediction[~blank].any()
