"""What measures see of images: some of them, the same arrays every time."""

from types import SimpleNamespace

import numpy as np
import pytest

from maskmim.evals.held_out import even_part, valid_batches
from maskmim.evals.trained import spread, trained_of
from maskmim.evals.unreadable import sentences
from tests.evals.small import source_of, trained_on
from tests.evals.test_lidar import OneBad, two_crops
from tests.tiny import pictures


def test_images_are_spread_evenly():
    assert list(spread(10, 4)) == [0, 3, 6, 9] and list(spread(3, 8)) == [0, 1, 2]


def rows_of(batches, name="image"):
    return np.concatenate([batch[name][batch["valid"]] for batch in batches])


def test_augmented_images_are_the_same_in_every_pass_and_size():
    source = source_of(pictures(12))
    first = rows_of(source.batches(7, augmented=True))
    np.testing.assert_array_equal(first, rows_of(source.batches(7, augmented=True)))
    other = rows_of(source._replace(size=5).batches(7, augmented=True))
    np.testing.assert_array_equal(first, other)
    plain = source.batches(7)
    assert (rows_of(plain) != first).any()
    np.testing.assert_array_equal(rows_of(source.batches(7), "record"), spread(12, 7))


def test_methods_of_several_crops_are_told_apart():
    assert not source_of(pictures(3)).as_trained()
    assert source_of(pictures(3), augment=two_crops).as_trained()


@pytest.mark.parametrize("size", [1, 3, 4, 50])
def test_valid_rows_come_in_order_and_padding_never(size):
    sound = source_of(pictures(11), size=4)
    torn = source_of(pictures(11), size=4, records=OneBad(sound.records))
    batches = list(valid_batches(torn.batches(11), size))
    assert [i for batch in batches for i in batch["record"]] == [0, 1, *range(3, 11)]
    sizes = [len(batch["image"]) for batch in batches]
    assert set(sizes[:-1]) <= {size} and (size == 1 or sizes[-1] > 1)
    assert all(batch["valid"].all() and len(batch["label"]["kind"]) for batch in batches)


def test_images_that_cannot_be_read_are_counted_once():
    sound = source_of(pictures(11), size=4)
    torn = source_of(pictures(11), size=4, records=OneBad(sound.records))
    for most in (11, 11, 2):
        assert len(list(torn.batches(most))) == -(-most // 4)
    assert list(torn.unread) == ["2"]
    (told,) = sentences({"data.train": {}, "evals.test": torn.unread})
    name, why = next(iter(torn.unread.items()))
    assert told == (
        f"1 image of evals.test cannot be read and does not count, such as {name} ({why})"
    )
    (told,) = sentences({"evals.test": torn.unread | {"b": "torn"}})
    assert told.startswith("2 images of evals.test cannot be read and do not count")
    assert not sound.unread and sentences({"evals.test": sound.unread}) == []


def test_batches_without_a_rest_are_preferred():
    assert even_part(512, 64, 1) == 64 and even_part(100, 64, 1) == 50
    assert even_part(97, 64, 1) == 64 and even_part(10, 64, 1) == 64
    assert even_part(512, 64, 8) == 64 and even_part(100, 64, 4) == 20


def test_random_numbers_are_of_the_image():
    trained = trained_on()
    whole = trained.randomness(np.arange(6)).each("mask")
    part = trained.randomness(np.array([4, 1])).each("mask")
    assert (whole[np.array([4, 1])] == part).all()
    assert (trained._replace(step=99).randomness(np.arange(6)).each("mask") == whole).all()


def colours(arrays):
    return arrays["image"].astype(np.float32).mean(axis=(1, 2)) + 1.0


def evaluation_of(source, encoder, test=True):
    """An Evaluation whose encoder is a function of the arrays of a batch."""
    names = ("decode", "transform")
    evals = {name: getattr(source, name) for name in names} | {"train": None}
    opened = source.open if test else None
    parts = SimpleNamespace(
        evals=SimpleNamespace(test=opened, **evals),
        data=SimpleNamespace(train=source.open, augment=source.augment),
        method=SimpleNamespace(apply={}),
        spec=source.spec,
        mesh=None,
    )
    config = SimpleNamespace(
        train=SimpleNamespace(batch_size=8, micro_batches=2),
        evals=SimpleNamespace(pooling="mean", batch_size=source.size, streams=()),
        model={},
    )
    given = {"variables": None, "step": 1, "encoder": encoder, "before_training": None}
    return SimpleNamespace(config=config, parts=parts, **given)


@pytest.mark.parametrize("test", [True, False])
def test_features_are_computed_once_and_without_padding(test):
    source, calls = source_of(pictures(11), size=4), []

    def encoder(arrays):
        calls.append(len(arrays["image"]))
        return colours(arrays)

    trained = trained_of(evaluation_of(source, encoder, test))
    found = trained.features(7)
    np.testing.assert_allclose(found, colours({"image": rows_of(source.batches(7))}))
    assert found.shape == (7, 3) and calls == [4, 4] and trained.features(7) is found
    assert trained.images.name == ("evals.test" if test else "data.train") and trained.part == 4


def test_features_that_probes_have_computed_are_taken():
    seen = np.arange(22, dtype=np.float32).reshape(11, 2)
    unreadable = {}
    evaluation = evaluation_of(source_of(pictures(11)), None)
    trained = trained_of(evaluation, seen=seen, untrained=seen + 1, unreadable=unreadable)
    np.testing.assert_array_equal(trained.untrained, seen + 1)
    trained.images.unread["torn"] = "why"
    assert unreadable == {"evals.test": {"torn": "why"}, "evals.train": {}, "data.train": {}}
    np.testing.assert_array_equal(trained.features(4), seen[spread(11, 4)])
    np.testing.assert_array_equal(trained.features(99), seen)
