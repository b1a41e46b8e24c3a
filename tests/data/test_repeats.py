"""Several crops of one decode: order, random numbers, shares, starts in the middle, accounting."""

from functools import partial

import numpy as np
import pytest

from maskmim.config.load import load
from maskmim.data.decode import picture
from maskmim.data.pipeline import check_batch_size, check_repeats, train_batches
from maskmim.data.records import DataError
from maskmim.errors import UserError
from maskmim.training.build import assemble, span_of
from tests.data.test_pipeline import COUNT, SPEC, assert_equal_batches, flat, records, stream


def test_the_crops_of_a_record_stand_side_by_side():
    batches, crops = stream(count=COUNT, repeats=4), []
    for batch in batches:
        groups = batch["record"].reshape(2, 4)
        assert (groups == groups[:, :1]).all()
        for number in range(2):
            group = batch["image"][4 * number : 4 * number + 4]
            crops.append(len({crop.tobytes() for crop in group}))
        np.testing.assert_array_equal(batch["label"]["number"], batch["record"])
    assert np.mean(crops) > 3.9  # in so small pictures two crops are the same at times


@pytest.mark.parametrize("repeats", [2, 8])
def test_an_epoch_takes_each_record_once_in_the_order_of_the_seed(repeats):
    firsts = flat(stream(count=COUNT, repeats=repeats))[::repeats]
    np.testing.assert_array_equal(firsts, flat(stream(count=COUNT))[: len(firsts)])
    epochs = firsts[: len(firsts) // COUNT * COUNT].reshape(-1, COUNT)
    assert all(np.array_equal(np.sort(epoch), np.arange(COUNT)) for epoch in epochs)


def test_each_record_is_decoded_once_and_a_decoder_draws_once():
    decoded = []

    def shifted(rng, encoded, channels):
        decoded.append(1)
        return np.roll(picture(rng, encoded, channels), int(rng.integers(0, 14)), axis=1)

    def plain(rng, image, *, size):
        return image[: size[0], : size[1]]

    batches = stream(count=3, repeats=2, decode=shifted, augment=plain)
    assert len(decoded) >= 12 and len(decoded) % 4 == 0
    pairs = np.concatenate([batch["image"] for batch in batches])
    np.testing.assert_array_equal(pairs[::2], pairs[1::2])


def test_a_start_in_the_middle_threads_and_workers_change_nothing():
    source = records(broken=(5, 6, 30))
    whole = stream(source, repeats=2)
    assert_equal_batches(whole[5:], stream(source, count=7, repeats=2, start_batch=5))
    assert_equal_batches(whole, stream(source, repeats=2, threads=1))
    assert_equal_batches(whole[3:5], stream(source, 2, repeats=2, start_batch=3, workers=2))


def test_processes_share_the_batches():
    whole = stream(repeats=2)
    parts = [stream(repeats=2, process_index=p, process_count=4) for p in range(4)]
    for number, batch in enumerate(whole):
        for key in ("image", "record"):
            joined = np.concatenate([part[number][key] for part in parts])
            np.testing.assert_array_equal(joined, batch[key])


def test_a_bad_record_is_bad_in_all_its_places_and_listed_once():
    batches = stream(records(broken=(5,)), count=COUNT, repeats=4)
    bad = flat(batches, "bad")
    assert (bad == 5).sum() % 4 == 0 and (bad == 5).any()
    assert ((bad == 5) == (flat(batches) == 5)).all()


@pytest.mark.parametrize(
    ("batch", "repeats", "processes", "words"),
    [
        (8, 3, 1, r"data.repeats=3 does not divide train.batch_size=8: .*multiple of 3"),
        (8, 4, 4, r"batch_size=8 \(2 for each of 4 processes\).*multiple of 16"),
        (4, 8, 1, "data.repeats=8 does not divide"),
    ],
)
def test_repeats_that_do_not_divide_the_batch_are_a_sentence(batch, repeats, processes, words):
    with pytest.raises(DataError, match=words):
        check_repeats(batch, repeats, processes)


def test_a_batch_may_be_larger_than_the_records():
    check_batch_size(records(5), 20, 4)
    with pytest.raises(DataError, match=r"5 images, 4 times each, are fewer than one batch of 24"):
        check_batch_size(records(5), 24, 4)
    batches = train_batches(
        records(5),
        spec=SPEC,
        batch_size=20,
        seed=0,
        augment=partial(lambda rng, image, size: image[:8, :8]),
        repeats=4,
    )
    assert len(set(next(batches)["record"].tolist())) == 5


def test_an_epoch_has_as_many_more_steps():
    once = span_of(load("mae:tiny", ["train.epochs=2"]), 296)
    twice = span_of(load("mae:tiny", ["train.epochs=2", "data.repeats=2"]), 296)
    assert (twice.steps, twice.per_epoch) == (2 * once.steps, 2 * once.per_epoch)
    with pytest.raises((UserError, DataError), match=r"data.repeats=3 does not divide"):
        assemble(load("mae:tiny", ["data.repeats=3"]), 296)
