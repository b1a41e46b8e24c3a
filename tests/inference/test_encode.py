"""Features are those of the evaluations, whatever the images are given as."""

import functools
import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from maskmim.data.decode import picture
from maskmim.data.pipeline import eval_batches
from maskmim.evals.features import extract, pooled_encoder
from maskmim.inference import InferenceError, load
from maskmim.training.build import bind_evals
from maskmim.types import Variables
from tests.compiling import quick_jit
from tests.tolerances import REORDERED

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


def same(found, expected):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=REORDERED * scale, rtol=0)


def test_the_features_of_evaluations(model, photographs, features):
    loaded = model.loaded
    encode = pooled_encoder(loaded.method.apply["encode"], pooling=loaded.config.evals.pooling)
    given = eval_batches(
        photographs,
        spec=loaded.spec,
        batch_size=4,
        decode=bind_evals(loaded.config).decode,
        transform=bind_evals(loaded.config).transform,
    )
    variables = Variables(*loaded.variables[:2], {})
    same(features, extract(functools.partial(encode, variables), given).features)
    assert features.shape == (7, 32) and features.dtype == np.float32


def test_layers_poolings_and_maps(model, photographs, features):
    tokens = model.encode(photographs, pooling=None)
    both = model.encode(photographs, pooling="class_mean")
    same(tokens.mean(axis=1), features)
    same(both[:, 32:], features)
    layers = model.encode(photographs, layers=(0, -1), pooling=None)
    assert layers.shape == (7, 2, 16, 32)
    norm = model.params["encoder"]["norm"]["norm"]
    last = layers[:, 1]
    centred = last - last.mean(-1, keepdims=True)
    normed = centred / np.sqrt(last.var(-1, keepdims=True) + 1e-6)
    same(normed * np.asarray(norm["scale"]) + np.asarray(norm["bias"]), tokens)
    same(model.features_map(photographs), tokens.reshape(7, 4, 4, 32))
    same(model.features_map(photographs, 0).reshape(7, 16, 32), layers[:, 0])


def test_all_ways_to_give_an_image(model, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PICTURE).save(path)
    content = io.BytesIO(path.read_bytes())
    wanted = model.encode(path)
    for given in (
        PICTURE,
        PICTURE[None],
        PICTURE / 255.0,
        jnp.asarray(PICTURE),
        PICTURE.astype(np.int64),
        np.concatenate([PICTURE, PICTURE[..., :1]], axis=-1),
        Image.fromarray(PICTURE),
        Image.open(content),
        [str(path)],
        tmp_path,
        {"image": [PICTURE]},
    ):
        np.testing.assert_array_equal(model.encode(given), wanted)
    grey = model.encode([PICTURE[..., 0], Image.fromarray(PICTURE[..., 0])])
    np.testing.assert_array_equal(grey[0], grey[1])


def test_the_orientation_of_a_photograph(model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PICTURE).save(tmp_path / "a.png", exif=exif)
    opened = model.encode(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(opened, model.encode(tmp_path / "a.png"))
    np.testing.assert_array_equal(opened, model.encode(np.rot90(PICTURE, -1)))


def test_without_a_crop_arrays_of_the_size_enter_as_they_are(workdir, model):
    whole = load(workdir, batch_size=4, crop=False)
    image = PICTURE[:32, :32]
    batch = {"image": image[None]}
    encoded = quick_jit(model.loaded.method.apply["encode"])(model.loaded.variables, batch)
    same(whole.encode(image), np.asarray(encoded.tokens.mean(axis=1)))
    assert np.abs(whole.encode(image) - model.encode(image)).max() > 1e-3


def test_batches_and_order(model, photographs, features):
    images = [photographs[i].encoded for i in range(7)]
    decoded = [picture(None, image) for image in images]
    np.testing.assert_array_equal(model.encode(decoded), features)
    for index in (0, 6):
        same(model.encode(decoded[index])[0], features[index])


def test_another_size(model, photographs, capsys):
    assert model.encode(photographs, size=48).shape == (7, 32)
    assert model.features_map(photographs, size=(48, 48)).shape == (7, 6, 6, 32)
    said = capsys.readouterr().err
    assert said.count("used with 48x48, 6x6 tokens") == 1
    assert model.at_size(48).at_size(32) is model


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([], "no image was given"),
        ("missing.jpg", "there is no file 'missing.jpg'"),
        (PICTURE * 1.0, r"floats in \[0, 1\]"),
        (PICTURE.astype(int) * 4, "whole numbers from 0 to 1020"),
        (np.zeros((3, 32, 32, 2)).transpose(3, 0, 1, 2), "channels come last"),
        (np.zeros(32), r"shape \[32\]: give arrays \[H, W, C\]"),
        ([None], "image 0 is NoneType"),
        (PICTURE > 9, r"is bool\[\d+, \d+, 3\], whose values are no numbers"),
        (PICTURE[:0], "which is empty"),
        (["tests"], "'tests' is a folder in a list: give a folder alone"),
        ({"depth": PICTURE}, "this model takes image; given were depth"),
        ([b"no picture"], "image 0: it cannot be read"),
    ],
)
def test_what_is_no_image(model, images, words):
    with pytest.raises(InferenceError, match=words):
        model.encode(images)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        (
            {"pooling": "max"},
            "use one of 'class', 'mean', 'class_mean'; for every patch token None, in commands",
        ),
        ({"layers": 2}, r"layer=2: the blocks are 0 to 1, or -1 \(the last\) to -2"),
        ({"layers": ()}, "give numbers of blocks"),
        ({"layers": 0.5}, "give numbers of blocks"),
        ({"size": "96"}, "size='96': give a side, or all 2 of them as .*whole numbers"),
        ({"size": 0}, "sides are whole numbers of at least 1"),
        ({"size": 48.0}, "sides are whole numbers of at least 1"),
    ],
)
def test_what_the_encoder_lacks(model, keywords, words):
    with pytest.raises(InferenceError, match=words):
        model.encode(PICTURE, **keywords)


def test_a_folder_in_a_stream_without_what_cannot_be_read(model, tmp_path):
    for index in range(6):
        Image.fromarray(PICTURE + np.uint8(index)).save(tmp_path / f"{index}.png")
    (tmp_path / "1.png").write_bytes(b"cut off")
    with pytest.raises(InferenceError, match=r"1.png: it cannot be read"):
        model.encode(tmp_path)
    parts = list(model.encode_stream(tmp_path))
    assert [name for part in parts for name in part.names] == [f"{i}.png" for i in (0, 2, 3, 4, 5)]
    assert [list(part.unread) for part in parts] == [["1.png"], []]
    rows = np.concatenate([part.features for part in parts])
    same(rows, model.encode([tmp_path / f"{i}.png" for i in (0, 2, 3, 4, 5)]))
    rest = list(model.encode_stream(tmp_path, start=3))
    assert [part.names for part in rest] == [("3.png",), ("4.png", "5.png")]
    assert [index for part in rest for index in part.records] == [3, 4, 5]
    np.testing.assert_array_equal(np.concatenate([part.features for part in rest]), rows[2:])


def test_a_stream_that_begins_where_nothing_can_be_read(model, tmp_path):
    for index in range(3):
        Image.fromarray(PICTURE).save(tmp_path / f"{index}.png")
    (tmp_path / "2.png").write_bytes(b"cut off")
    (rest,) = model.encode_stream(tmp_path, start=2)
    assert rest.features.shape == (0, model.width) and list(rest.unread) == ["2.png"]
    assert list(model.encode_stream(tmp_path, start=3)) == []


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda model: model.at_size(None), "size=None: give a side"),
        (lambda model: model.features_map(PICTURE, layer=(0, 1)), r"layer=\(0, 1\): give the n"),
        (lambda model: model.attention(PICTURE, layer=None), "layer=None: give the number"),
        (lambda model: model.attention(PICTURE, layer=1.0), "layer=1.0: give the number"),
        (lambda model: model.mask(PICTURE, seed=1.5), "seed=1.5: give a whole number"),
        (lambda model: model.mask(PICTURE, seed=None), "seed=None: give a whole number"),
        (lambda model: model.reconstruct(PICTURE, seed="a"), "seed='a': give a whole number"),
        (lambda model: next(model.encode_stream(PICTURE, start=2.5)), "start=2.5: give a whole"),
    ],
)
def test_keywords_of_another_type(model, call, words):
    with pytest.raises(InferenceError, match=words):
        call(model)


def test_a_picture_of_pillow_that_is_closed(model):
    picture = Image.fromarray(PICTURE)
    picture.close()
    with pytest.raises(InferenceError, match="a picture of Pillow cannot be read: Operation on"):
        model.encode(picture)
