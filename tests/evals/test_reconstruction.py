"""Errors and pictures of reconstructions against numpy loops, with a net of plain functions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.evals.features import Unsuitable
from maskmim.evals.reconstruction import GREY, reconstruction
from maskmim.evals.results_table import results_table
from maskmim.types import Mask, Method, Net, Randomness

SIZE, PATCH, GRID = 16, 4, (4, 4)
MEAN, STD = 0.4, 0.25
PICTURES = ("image", "masked", "restored", "raw")


def cut(images):
    """[B, 16, 16, C] -> [B, 16, 16 * C], by loops."""
    places = [(r, c) for r in range(0, SIZE, PATCH) for c in range(0, SIZE, PATCH)]
    parts = [images[:, r : r + PATCH, c : c + PATCH] for r, c in places]
    return jnp.stack([part.reshape(len(images), -1) for part in parts], axis=1)


def join(patches):
    blocks = patches.reshape(len(patches), *GRID, PATCH, PATCH, -1)
    rows = [jnp.concatenate([blocks[:, r, c] for c in range(4)], axis=2) for r in range(4)]
    return jnp.concatenate(rows, axis=1)


def display(inputs):
    return jnp.round(jnp.clip(inputs * STD + MEAN, 0, 1) * 255).astype(jnp.uint8)


def normalised(pixels):
    return (pixels / 255 - MEAN) / STD


def mask_of(hidden, predict):
    visible = np.stack([np.flatnonzero(~row) for row in hidden])
    weight = np.ones(predict.shape, np.float32)
    return Mask(*(jnp.asarray(part) for part in (visible, predict, hidden, weight)))


def draw(examples=3, channels=3, seed=0):
    """Pictures u8 and a mask that hides and predicts 11 of 16 patches."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (examples, SIZE, SIZE, channels), dtype=np.uint8)
    hidden = np.ones((examples, 16), bool)
    for row in hidden:
        row[rng.choice(16, 5, replace=False)] = False
    return images, mask_of(hidden, np.stack([np.flatnonzero(row) for row in hidden]))


def evaluate(images, mask, pixels, prediction=None):
    """`reconstruction` of a method that predicts f32[B, P, V] `pixels`, in units of the inputs."""
    inputs = jnp.asarray(normalised(images.astype(np.float32)))
    net = Net({"image": GRID}, 0, None, None, None, None, cut, join, display)

    def reconstruct(variables, batch, randomness):
        raw = pixels if prediction is None else prediction
        return {"mask": mask, "inputs": inputs, "target": None, "pixels": pixels, "prediction": raw}

    method = Method(net, None, None, None, None, {"reconstruct": reconstruct}, ())
    randomness = Randomness.of(jax.random.key(0), len(images))
    found = reconstruction(method, {"image": net}, (), {}, randomness)
    return jax.tree.map(np.asarray, found.errors | found.pictures["image"])


def truth(images, mask):
    patches = np.asarray(cut(jnp.asarray(normalised(images.astype(np.float32)))))
    return np.stack([row[places] for row, places in zip(patches, mask.predict, strict=True)])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_perfect_prediction_has_no_error_and_gives_the_image_back(channels):
    images, mask = draw(channels=channels)
    found = evaluate(images, mask, jnp.asarray(truth(images, mask)))
    assert found["reconstruction/mse"] == 0
    assert found["reconstruction/psnr"] == pytest.approx(10 * math.log10(12 * 255**2), abs=1e-3)
    for name in PICTURES:
        assert found[name].dtype == np.uint8
        assert found[name].shape == images.shape
    for name in ("image", "restored", "raw"):
        np.testing.assert_array_equal(found[name], images)


def test_masked_pictures_are_grey_where_hidden_and_true_elsewhere():
    images, mask = draw()
    found = evaluate(images, mask, jnp.asarray(truth(images, mask)))
    shown, true = np.asarray(cut(found["masked"])), np.asarray(cut(images))
    hidden = np.asarray(mask.hidden)
    assert (shown[hidden] == GREY).all()
    np.testing.assert_array_equal(shown[~hidden], true[~hidden])


def test_errors_are_those_of_shown_pixels_of_each_image():
    images, mask = draw()
    noise = np.random.default_rng(1).normal(0, 0.3, truth(images, mask).shape)
    predicted = (truth(images, mask) + noise).astype(np.float32)
    found = evaluate(images, mask, jnp.asarray(predicted))
    guess = np.round(np.clip(predicted * STD + MEAN, 0, 1) * 255) / 255
    true = np.round(truth(images, mask) * 255 * STD + MEAN * 255) / 255
    each = ((guess - true) ** 2).mean(axis=(1, 2))
    np.testing.assert_allclose(found["reconstruction/mse"], each.mean(), rtol=1e-4)
    psnr = -10 * np.log10(each).mean()
    np.testing.assert_allclose(found["reconstruction/psnr"], psnr, rtol=1e-4)


def simple_guesses(image, hidden):
    """Errors of the three guesses on one image u8[16, 16, C], by loops."""
    patches = np.asarray(cut(image[None]))[0].astype(float) / 255
    channels = image.shape[-1]
    seen = np.flatnonzero(~hidden)
    colour = patches[seen].reshape(-1, channels).mean(axis=0)
    errors = {"nearest_visible": [], "mean_visible": [], "own_mean": []}
    for token in np.flatnonzero(hidden):
        steps = {other: math.dist(divmod(token, 4), divmod(other, 4)) for other in seen}
        near = [other for other, far in steps.items() if far == min(steps.values())]
        guesses = {
            "nearest_visible": patches[near].mean(axis=0),
            "mean_visible": np.tile(colour, PATCH * PATCH),
            "own_mean": np.round(patches[token].mean() * 255) / 255,
        }
        for name, guess in guesses.items():
            errors[name].append(((patches[token] - guess) ** 2).mean())
    return {name: np.mean(values) for name, values in errors.items()}


@pytest.mark.parametrize("channels", [1, 3])
def test_simple_guesses_are_those_of_a_loop(channels):
    images, mask = draw(channels=channels, seed=2)
    images[:, :8] //= 3
    found = evaluate(images, mask, jnp.asarray(truth(images, mask)))
    expected = [
        simple_guesses(image, hidden)
        for image, hidden in zip(images, np.asarray(mask.hidden), strict=True)
    ]
    for name in expected[0]:
        mean = np.mean([each[name] for each in expected])
        np.testing.assert_allclose(found[f"reconstruction/mse_{name}"], mean, rtol=1e-4)


def test_predicting_nothing_in_normalised_patches_scores_as_their_own_mean():
    images, mask = draw()
    true = truth(images, mask)
    flat = np.broadcast_to(true.mean(-1, keepdims=True), true.shape)
    found = evaluate(images, mask, jnp.asarray(flat))
    assert found["reconstruction/mse"] == pytest.approx(found["reconstruction/mse_own_mean"])


def test_raw_and_restored_are_pasted_from_their_own_values():
    images, mask = draw()
    shape = truth(images, mask).shape
    black, white = jnp.full(shape, -10.0), jnp.full(shape, 10.0)
    found = evaluate(images, mask, black, white)
    hidden = np.asarray(mask.hidden)
    assert (np.asarray(cut(found["restored"]))[hidden] == 0).all()
    assert (np.asarray(cut(found["raw"]))[hidden] == 255).all()
    true = np.asarray(cut(images))[~hidden]
    np.testing.assert_array_equal(np.asarray(cut(found["raw"]))[~hidden], true)


def test_predictions_of_a_part_of_each_patch_are_pasted_as_what_is_made_of_them():
    images, mask = draw()
    pixels = jnp.asarray(truth(images, mask))
    found = evaluate(images, mask, pixels, prediction=pixels[..., : pixels.shape[-1] // 2])
    for name in ("restored", "raw"):
        np.testing.assert_array_equal(found[name], images)


def test_patches_that_are_predicted_but_visible_or_hidden_but_not_predicted():
    images, _ = draw(examples=1)
    hidden = np.zeros((1, 16), bool)
    hidden[0, [1, 2, 3]] = True
    mask = mask_of(hidden, np.array([[0, 1, 2]]))
    pixels = truth(images, mask)
    pixels[0, 0] = -10.0  # a visible one, badly predicted
    found = evaluate(images, mask, jnp.asarray(pixels))
    assert found["reconstruction/mse"] == 0
    restored, true = np.asarray(cut(found["restored"]))[0], np.asarray(cut(images))[0]
    assert (restored[3] == GREY).all()
    np.testing.assert_array_equal(np.delete(restored, 3, 0), np.delete(true, 3, 0))


def test_a_method_without_pixels_is_refused():
    method = Method(None, None, None, None, None, {}, ())
    with pytest.raises(Unsuitable, match="predicts no pixels"):
        reconstruction(method, {"image": None}, (), {}, Randomness.of(jax.random.key(0), 1))


def test_examples_without_hidden_patches_do_not_count():
    images, mask = draw(examples=2)
    noise = np.random.default_rng(1).normal(0, 0.3, truth(images, mask).shape)
    predicted = jnp.asarray((truth(images, mask) + noise).astype(np.float32))
    open_first = mask._replace(hidden=mask.hidden.at[0].set(False))
    both, second = evaluate(images, open_first, predicted), None
    alone = jax.tree.map(lambda array: array[1:], mask)
    second = evaluate(images[1:], alone, predicted[1:])
    for name in ("mse", "psnr", "mse_mean_visible", "mse_nearest_visible", "mse_own_mean"):
        key = f"reconstruction/{name}"
        assert both[key] == pytest.approx(second[key], rel=1e-5)


def test_where_nothing_is_visible_the_copy_of_a_visible_patch_is_black():
    images, mask = draw(examples=1)
    hidden = np.ones((1, 16), bool)
    all_hidden = mask._replace(hidden=jnp.asarray(hidden))
    found = evaluate(images, all_hidden, jnp.asarray(truth(images, mask)))
    patches = np.asarray(cut(images))[0][np.asarray(mask.predict)[0]] / 255
    black = (patches**2).mean()
    for name in ("mse_nearest_visible", "mse_mean_visible"):
        assert found[f"reconstruction/{name}"] == pytest.approx(black, rel=1e-4)


def of_streams(outputs, classes):
    """`reconstruction` of a method that gives these outputs for each stream."""
    net = Net({"image": GRID}, 0, None, None, None, None, cut, join, display)
    method = Method(net, None, None, None, None, {"reconstruct": lambda *_: outputs}, ())
    randomness = Randomness.of(jax.random.key(0), 3)
    return reconstruction(
        method, {"image": net, "labels": net}, (), {}, randomness, classes=classes
    )


def test_each_of_several_streams_has_its_own_errors_and_pictures():
    images, mask = draw()
    inputs = jnp.asarray(normalised(images.astype(np.float32)))
    wrong = jnp.asarray(truth(images, mask)) + 0.2
    own = {"mask": mask, "inputs": inputs, "target": None, "prediction": wrong, "pixels": wrong}
    maps = np.random.default_rng(0).integers(0, 5, images.shape).astype(np.int32)
    true = np.stack([r[t] for r, t in zip(np.asarray(cut(maps)), mask.predict, strict=True)])
    guess = np.where(np.arange(true.shape[-1]) % 4 == 0, true, 7)
    labels = {**own, "inputs": jnp.asarray(maps), "target": true, "prediction": guess}
    labels["pixels"] = jnp.asarray(guess)
    outputs = {"mask": None, "inputs": None, "streams": {"image": own, "labels": labels}}
    found = of_streams(outputs, {"image": 0, "labels": 5})
    assert found.errors["reconstruction/labels/accuracy"] == pytest.approx(0.25)
    alone = evaluate(images, mask, wrong)
    for name in ("mse", "psnr", "mse_own_mean", "mse_mean_visible", "mse_nearest_visible"):
        assert found.errors[f"reconstruction/image/{name}"] == alone[f"reconstruction/{name}"]
    assert len(found.errors) == 6 and set(found.pictures) == {"image", "labels"}
    np.testing.assert_array_equal(found.pictures["image"]["restored"], alone["restored"])

    void = labels | {"target": np.where(np.arange(3)[:, None, None] == 0, 255, true)}
    void["target"][1, :, 4:] = 255  # its values that count: 1 of 4 is right, as of the others
    streams = {"image": own, "labels": void}
    found = of_streams({**outputs, "streams": streams}, {"image": 0, "labels": 5})
    assert found.errors["reconstruction/labels/accuracy"] == pytest.approx(0.25)
    void["target"] = np.full_like(true, 255)
    found = of_streams({**outputs, "streams": streams}, {"image": 0, "labels": 5})
    assert np.isnan(found.errors["reconstruction/labels/accuracy"])

    only = of_streams({**outputs, "streams": {"image": own}}, {"image": 0})
    assert "reconstruction/mse" in only.errors and set(only.pictures) == {"image"}


def test_the_table_has_the_errors_of_each_stream_and_classes_apart():
    errors = {
        "reconstruction/image/mse": 0.25,
        "reconstruction/image/psnr": 6.0,
        "reconstruction/labels/accuracy": 0.75,
    }
    lines = results_table({"step": 1, "images_seen": 2, "reconstruction": errors}).splitlines()
    at = lines.index(f"{'image: prediction':<44}0.2500")
    assert lines[at - 2].startswith("Squared error")
    at = lines.index(f"{'labels: prediction':<44}0.7500")
    assert lines[at - 2].startswith("Share of hidden classes")
    alone = results_table(
        {"step": 1, "images_seen": 2, "reconstruction": {"reconstruction/mse": 1}}
    )
    assert f"{'prediction':<44}1.0000" in alone and "Share" not in alone
