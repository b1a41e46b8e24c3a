from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from maskmim.evals.features import (
    FeatureError,
    Features,
    Split,
    extract,
    extract_all,
    pool_class,
    pool_mean,
    pooled_encoder,
    pooling_by_name,
)
from maskmim.types import Encoded

SIDE, SIZE = 4, 5


def batches_of(images: np.ndarray, labels: dict, size: int = SIZE):
    for start in range(0, len(images), size):
        rows = np.arange(start, start + size)
        valid = rows < len(images)
        rows = np.where(valid, rows, 0)
        yield {
            "image": images[rows],
            "label": {name: values[rows] for name, values in labels.items()},
            "valid": valid,
        }


def pictures(count: int, seed: int = 0) -> tuple[np.ndarray, dict]:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    return images, {"kind": rng.integers(0, 4, count).astype(np.int32)}


def channel_means(arrays):
    return arrays["image"].astype(jnp.float32).mean(axis=(1, 2))


@pytest.mark.parametrize("count", [1, SIZE, 13, 2 * SIZE])
def test_every_image_once_in_order_and_padding_dropped(count):
    images, labels = pictures(count)
    split = extract(jax.jit(channel_means), batches_of(images, labels))
    assert split.features.shape == (count, 3)
    np.testing.assert_allclose(split.features, images.mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(split.labels["kind"], labels["kind"])
    assert split.features.dtype == np.float32 and split.labels["kind"].dtype == np.int32


def test_an_encoder_is_traced_once_for_all_batches():
    traces = []

    def encode(arrays):
        traces.append({name: array.shape for name, array in arrays.items()})
        return channel_means(arrays)

    images, labels = pictures(13)
    extract(jax.jit(encode), batches_of(images, labels))
    assert traces == [{"image": (SIZE, SIDE, SIDE, 3)}]


def test_several_encoders_read_the_images_once():
    images, labels = pictures(13)
    read = []

    def counted():
        for batch in batches_of(images, labels):
            read.append(1)
            yield batch

    found = extract_all({"a": channel_means, "b": lambda x: 2 * channel_means(x)}, counted())
    assert len(read) == 3
    np.testing.assert_allclose(found["b"].features, 2 * found["a"].features)


def test_images_without_labels_have_none():
    images, _ = pictures(7)
    assert extract(channel_means, batches_of(images, {})).labels == {}


def test_no_image_and_diverged_encoders_are_errors():
    images, labels = pictures(7)
    with pytest.raises(FeatureError, match="no valid image"):
        extract(channel_means, [])
    with pytest.raises(FeatureError, match=r"this encoder .* 7 of 7 images"):
        extract(
            lambda x: channel_means(x) * np.nan, batches_of(images, labels), name="this encoder"
        )


def test_non_finite_features_of_padding_do_not_matter():
    images, labels = pictures(7)

    def encode(arrays):
        batch, means = arrays["image"], np.array(channel_means(arrays))
        means[(batch == batch[0]).all(axis=(1, 2, 3)) & (np.arange(SIZE) > 1)] = np.nan
        return means

    batches = list(batches_of(images, labels))
    batches[-1]["image"][2:] = batches[-1]["image"][0]
    assert np.isfinite(extract(encode, batches).features).all()


def split_of(count=4, width=2, top=1, sets=("kind",)):
    return Split(np.zeros((count, width), np.float32), {s: np.full(count, top) for s in sets})


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (split_of(top=2), split_of(), "reach from 2 to 2"),
        (split_of(), split_of(top=-1), "test: labels 'kind'"),
        (split_of(sets=()), split_of(), "label sets"),
        (split_of(width=3), split_of(), "3 dimensions"),
        (Split(np.zeros((3, 2)), {"kind": np.zeros(4, int)}), split_of(), "3 features but 4"),
    ],
)
def test_parts_that_do_not_fit_are_errors(train, test, message):
    with pytest.raises(FeatureError, match=message):
        Features.of(train, test, {"kind": ("a", "b")})


def encoded(prefix: int = 1, dtype=jnp.float32) -> Encoded:
    rng = np.random.default_rng(0)
    return Encoded(
        jnp.asarray(rng.normal(size=(2, prefix, 3)), dtype),
        jnp.asarray(rng.normal(size=(2, 9, 3)), dtype),
    )


def test_poolings():
    found = encoded(prefix=2)
    np.testing.assert_array_equal(pool_class(found), found.prefix[:, 0])
    np.testing.assert_allclose(pool_mean(found), np.asarray(found.tokens).mean(axis=1), atol=1e-6)
    assert pool_mean(encoded(dtype=jnp.bfloat16)).dtype == jnp.float32
    assert pooling_by_name("class") is pool_class and pooling_by_name("mean") is pool_mean


def test_pooling_errors_name_the_way_out():
    with pytest.raises(FeatureError, match="class token"):
        pool_class(encoded(prefix=0))
    with pytest.raises(FeatureError, match=r"'average'.*class, mean"):
        pooling_by_name("average")


def test_pooled_encoder_compiles_once_for_changing_variables():
    traces = []

    def encode(variables, batch):
        traces.append(1)
        tokens = batch["image"].astype(jnp.float32).reshape(len(batch["image"]), -1, 3)
        return Encoded(tokens[:, :1], tokens * variables)

    run = pooled_encoder(encode, pooling="mean")
    images, _ = pictures(SIZE)
    for scale in (1.0, 3.0):
        found = run(jnp.float32(scale), {"image": images})
        np.testing.assert_allclose(found, scale * images.mean(axis=(1, 2)), rtol=1e-5)
    assert traces == [1]


def test_streams_that_are_left_out_do_not_reach_the_encoder():
    seen = []

    def encode(variables, batch):
        seen.append(sorted(batch))
        tokens = batch["depth"].astype(jnp.float32).reshape(len(batch["depth"]), -1, 1)
        return Encoded(tokens[:, :1], tokens)

    run = pooled_encoder(encode, pooling="mean", without=("image",))
    images, labels = pictures(7)
    batches = [
        {**batch, "depth": batch["image"][..., :1], "bad": batch["valid"], "reason": ()}
        for batch in batches_of(images, labels)
    ]
    found = extract(lambda arrays: run((), arrays), batches)
    np.testing.assert_allclose(found.features[:, 0], images[..., 0].mean(axis=(1, 2)), rtol=1e-6)
    assert seen == [["depth"]]
