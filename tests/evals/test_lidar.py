"""LiDAR against generalised eigenvalues, and which crops it is of."""

from types import MappingProxyType

import numpy as np
import pytest
import scipy.linalg

from maskmim.config import facts
from maskmim.data.records import BadImage
from maskmim.evals.features import Split, Unsuitable
from maskmim.evals.lidar import lidar, lidar_of
from tests.evals.small import source_of, trained_on
from tests.tiny import pictures


def expected(groups, delta):
    """LiDAR by loops over examples and scipy's generalised eigenvalues."""
    n, q, width = groups.shape
    means = [sum(group) / q for group in groups]
    grand = sum(means) / n
    between = sum(np.outer(m - grand, m - grand) for m in means) / n
    within = sum(np.outer(x - m, x - m) for g, m in zip(groups, means, strict=True) for x in g)
    values = scipy.linalg.eigh(between, within / (n * q) + delta * np.eye(width))[0]
    shares = np.maximum(values, 0) / np.maximum(values, 0).sum() + 1e-7
    return np.exp(-(shares * np.log(shares)).sum())


@pytest.mark.parametrize("shape", [(20, 4, 6), (5, 3, 12)])
def test_lidar_is_the_rank_of_linear_discriminants(shape):
    rng = np.random.default_rng(0)
    scale = np.geomspace(4.0, 0.1, shape[2])
    groups = rng.normal(size=(shape[0], 1, shape[2])) * scale + 0.2 * rng.normal(size=shape)
    assert lidar_of(groups, delta=1e-4) == pytest.approx(expected(groups, 1e-4), rel=1e-4)


def test_directions_that_copies_do_not_share_count_little():
    rng = np.random.default_rng(0)
    kept = rng.normal(size=(60, 1, 8)).repeat(5, axis=1)
    noise = rng.normal(size=(60, 5, 8))
    assert lidar_of(kept + 0.1 * noise, delta=1e-4) > 6.5
    loose = np.concatenate([kept[..., :4] + 0.1 * noise[..., :4], 3.0 * noise[..., 4:]], axis=-1)
    assert lidar_of(loose, delta=1e-4) < 4.5


def by_colour(trained, seen):
    """A Trained whose features are means of quarters, that keeps what is encoded."""

    class Faked(type(trained)):
        def features_by(self, encode, variables, batches):
            passed = list(batches)
            seen.extend(passed)
            crops = np.concatenate([batch["image"][batch["valid"]] for batch in passed])
            return Split(crops.reshape(len(crops), 4, -1).mean(axis=2), {})

    return Faked(*trained)


class Method:
    """A method whose encoder is not called."""

    apply = MappingProxyType({"encode": None})


def test_each_image_comes_several_times_as_different_crops():
    seen = []
    (found,) = lidar(by_colour(trained_on(method=Method), seen), images=6, copies=3)
    records = np.concatenate([batch["record"][batch["valid"]] for batch in seen])
    assert list(records) == [r for r in np.linspace(0, 11, 6).round() for _ in range(3)]
    first = seen[0]["image"]
    assert (first[0] != first[1]).any() and (first[1] != first[2]).any()
    again = []
    assert next(lidar(by_colour(trained_on(method=Method), again), images=6, copies=3)) == found
    assert found.name == "lidar" and 1 <= found.value <= 5


class OneBad:
    """Records of which number 2 cannot be read."""

    def __init__(self, records):
        self.records = records
        self.labels, self.fingerprint = records.labels, records.fingerprint

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        if index == 2:
            raise BadImage("torn")
        return self.records[index]

    def name(self, index):
        return str(index)


def test_an_unreadable_image_is_left_out_whole():
    sound = source_of(pictures(6))
    torn = source_of(pictures(6), records=OneBad(sound.records))
    values = []
    for source in (torn, sound):
        trained = by_colour(trained_on(method=Method, test=source), [])
        values.append(next(lidar(trained, images=6, copies=2)).value)
    assert values[0] != values[1] and 1 <= values[0] <= 4


@facts.augmentation(makes=lambda size, channels: {"global": (2, *size, channels)})
def two_crops(rng, array, *, size):
    return {"global": np.stack([array[: size[0], : size[1]]] * 2)}


@facts.augmentation(makes=lambda size, channels: {"small": (2, 8, 8, channels)})
def small_crops(rng, array, *, size):
    return {"small": np.stack([array[:8, :8]] * 2)}


def test_of_several_crops_the_first_of_the_inputs_size_counts():
    trained = trained_on(method=Method, test=source_of(pictures(6), augment=two_crops))
    assert next(lidar(by_colour(trained, []), images=4, copies=2)).value > 1
    trained = trained_on(method=Method, test=source_of(pictures(6), augment=small_crops))
    with pytest.raises(Unsuitable, match="no crop of shape"):
        next(lidar(by_colour(trained, []), images=4, copies=2))
