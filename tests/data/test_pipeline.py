import functools
import itertools

import numpy as np
import pytest

from maskmim.data.arrays import ArrayRecords
from maskmim.data.decode import picture, scaled
from maskmim.data.pipeline import TRIES, eval_batches, train_batches
from maskmim.data.records import BadImage, DataError, Example, TooManyBadImages
from maskmim.data.transforms import random_resized_crop_flip, resize_center_crop
from maskmim.types import Spec

COUNT = 37
SPEC = Spec((8, 8), 3, (0.5,) * 3, (0.25,) * 3)


def plain(rng, image, *, size):
    """A transform without randomness, which keeps what makes a picture known."""
    return image[: size[0], : size[1]]


def records(count: int = COUNT, broken: tuple[int, ...] = ()):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 12, 14, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    labels = {"parity": np.arange(count) % 2, "number": np.arange(count)}
    classes = {"parity": ("even", "odd"), "number": [str(i) for i in range(count)]}
    source = ArrayRecords(images, labels, classes=classes, title="pictures")
    return Holed(source, broken) if broken else source


class Holed:
    """Records of which some cannot be read: by odd index the file, by even index its content."""

    def __init__(self, source, broken):
        self.labels, self.fingerprint = source.labels, source.fingerprint
        self._source, self._broken = source, set(broken)

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        if index in self._broken and index % 2:
            raise BadImage("a hole")
        example = self._source[index]
        return Example(b"nothing", example.labels) if index in self._broken else example

    def name(self, index):
        return f"picture {index}"


def stream(source=None, count=12, **options):
    settings = {
        "spec": SPEC,
        "batch_size": 8,
        "seed": 3,
        "augment": functools.partial(random_resized_crop_flip, scale=(0.3, 1.0)),
    }
    batches = train_batches(records() if source is None else source, **(settings | options))
    return list(itertools.islice(batches, count))


def flat(batches, key="record"):
    return np.concatenate([batch[key] for batch in batches])


def assert_equal_batches(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert set(a) == set(b)
        for key in ("image", "record", "bad"):
            assert a[key].dtype == b[key].dtype and np.array_equal(a[key], b[key])
        assert set(a["label"]) == set(b["label"])
        for name in a["label"]:
            assert np.array_equal(a["label"][name], b["label"][name])


def test_shapes_and_types():
    (batch,) = stream(count=1)
    assert batch["image"].shape == (8, 8, 8, 3) and batch["image"].dtype == np.uint8
    assert batch["record"].dtype == batch["bad"].dtype == np.int64
    assert {name: column.dtype for name, column in batch["label"].items()} == {
        "parity": np.int32,
        "number": np.int32,
    }
    assert np.array_equal(batch["label"]["number"], batch["record"])


def test_each_epoch_takes_each_record_once_in_a_new_order():
    indices = flat(stream(count=COUNT))[: 8 * COUNT]
    epochs = indices.reshape(8, COUNT)
    assert all(np.array_equal(np.sort(epoch), np.arange(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 8


def test_seeds_give_unrelated_orders():
    orders = [tuple(flat(stream(count=5, seed=seed))[:COUNT]) for seed in range(6)]
    epochs = [tuple(flat(stream(count=10, seed=0))[COUNT : 2 * COUNT])]
    assert len(set(orders + epochs)) == 7


def test_pictures_and_labels_belong_to_the_records():
    for batch in stream(count=10, augment=plain):
        assert np.array_equal(batch["image"][:, 0, 0, 0], batch["record"])
        assert np.array_equal(batch["label"]["parity"], batch["record"] % 2)
        assert (batch["bad"] == -1).all()


def test_augmentation_is_new_at_each_visit_and_repeatable():
    batches = stream(count=COUNT)
    assert_equal_batches(batches, stream(count=COUNT))
    visits = {}
    for batch in batches:
        for record, image in zip(batch["record"], batch["image"], strict=True):
            visits.setdefault(int(record), set()).add(image.tobytes())
    assert all(len(pictures) >= 7 for pictures in visits.values())


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_same_batches(count):
    whole = stream()
    parts = [stream(process_index=p, process_count=count) for p in range(count)]
    joined = []
    for shares in zip(*parts, strict=True):
        assert all(len(share["record"]) == 8 // count for share in shares)
        joined.append(
            {key: np.concatenate([s[key] for s in shares]) for key in ("image", "record", "bad")}
            | {
                "reason": sum((s["reason"] for s in shares), ()),
                "label": {
                    name: np.concatenate([s["label"][name] for s in shares])
                    for name in shares[0]["label"]
                },
            }
        )
    assert_equal_batches(whole, joined)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_threads_change_nothing(threads):
    source = records(broken=(5, 6, 30))
    assert_equal_batches(stream(source, threads=4), stream(source, threads=threads))


def test_workers_change_nothing():
    whole = stream(count=9)
    assert_equal_batches(whole, stream(count=9, workers=2))
    assert_equal_batches(whole[5:], stream(count=4, workers=2, start_batch=5))


def test_workers_pass_errors_on():
    with pytest.raises(Exception, match="images in a row cannot be read") as caught:
        stream(records(broken=tuple(range(COUNT))), count=1, workers=1)
    assert isinstance(caught.value, TooManyBadImages)


@pytest.mark.parametrize("start", [1, 4, 5, 11])
def test_any_batch_can_be_the_first(start):
    assert_equal_batches(stream(count=14)[start:], stream(count=14 - start, start_batch=start))


def test_beginning_late_reads_nothing_that_came_before():
    asked = []

    class Noted(Holed):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    batches = train_batches(
        Noted(records(), ()),
        spec=SPEC,
        batch_size=8,
        seed=3,
        augment=plain,
        start_batch=10**12,
    )
    assert next(batches)["image"].shape == (8, 8, 8, 3)
    assert len(asked) <= 8 * 4


def test_bad_records_are_replaced_by_the_next_good_one():
    broken = (5, 6, 36)
    replaced_by = {5: 7, 6: 7, 36: 0}
    for batch in stream(records(broken=broken), count=COUNT, augment=plain):
        is_bad = np.isin(batch["record"], broken)
        assert np.array_equal(batch["bad"], np.where(is_bad, batch["record"], -1))
        used = [replaced_by.get(int(index), int(index)) for index in batch["record"]]
        assert batch["image"][:, 0, 0, 0].tolist() == used
        assert batch["label"]["number"].tolist() == used


def test_nothing_but_bad_records_is_an_error():
    source = records(100, broken=tuple(range(100)))
    with pytest.raises(TooManyBadImages, match=f"{TRIES} images in a row"):
        stream(source, count=1)


def test_unlabelled_records_give_no_labels():
    images = np.zeros((9, 8, 8, 3), np.uint8)
    (batch,) = stream(ArrayRecords(images, {}, classes={}, title="x"), count=1)
    assert batch["label"] == {}


def test_a_single_record_is_enough_for_batches_of_one():
    batches = stream(records(1), count=3, batch_size=1)
    assert flat(batches).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"batch_size": 38},
            "37 images are fewer than one batch of 38: lower train.batch_size to 37",
        ),
        ({"batch_size": 8, "process_count": 3}, "does not divide equally among 3 processes"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
    ],
)
def test_errors_say_what_to_do(options, message):
    with pytest.raises(DataError, match=message):
        stream(count=1, **options)


def evaluation(source=None, **options):
    settings = {"spec": SPEC, "batch_size": 8, "transform": plain}
    return list(eval_batches(records() if source is None else source, **(settings | options)))


def test_evaluation_passes_once_in_order():
    batches = evaluation()
    assert [len(batch["record"]) for batch in batches] == [8] * 5
    valid = flat(batches, "valid")
    assert valid.dtype == bool and valid.sum() == COUNT and valid[:COUNT].all()
    assert np.array_equal(flat(batches)[valid], np.arange(COUNT))
    assert np.array_equal(flat(batches, "image")[valid][:, 0, 0, 0], np.arange(COUNT))
    numbers = np.concatenate([batch["label"]["number"] for batch in batches])
    assert np.array_equal(numbers, [*range(COUNT), -1, -1, -1])
    assert not flat(batches, "image")[~valid].any()


def test_evaluation_marks_substitutes_as_not_valid():
    batches = evaluation(records(broken=(4, 9)))
    valid, bad = flat(batches, "valid"), flat(batches, "bad")
    assert np.flatnonzero(~valid).tolist() == [4, 9, 37, 38, 39]
    assert bad[[4, 9]].tolist() == [4, 9] and (np.delete(bad, [4, 9]) == -1).all()


@pytest.mark.parametrize("count", [2, 4])
def test_evaluation_is_shared_by_processes(count):
    whole = evaluation()
    parts = [evaluation(process_index=p, process_count=count) for p in range(count)]
    for number, batch in enumerate(whole):
        for key in ("image", "record", "valid"):
            joined = np.concatenate([part[number][key] for part in parts])
            assert np.array_equal(batch[key], joined)


def test_evaluation_needs_images():
    empty = ArrayRecords(np.zeros((0, 8, 8, 3), np.uint8), {}, classes={}, title="none")
    with pytest.raises(DataError, match="no images to evaluate"):
        evaluation(empty)


def test_evaluation_transforms_by_default_to_the_centre():
    source = records()
    (batch,) = eval_batches(source, spec=SPEC, batch_size=COUNT)
    rng = np.random.default_rng(0)
    expected = resize_center_crop(rng, source[3].encoded, size=(8, 8))
    assert np.array_equal(batch["image"][3], expected)


@pytest.mark.parametrize("decode, dtype", [(picture, "float32"), (scaled, "uint8")])
def test_levels_never_stand_for_real_numbers_nor_the_other_way_round(decode, dtype):
    with pytest.raises(DataError, match=r"give .* where input\.dtype is"):
        stream(count=1, decode=decode, spec=SPEC._replace(dtype=dtype))


def test_real_numbers_reach_the_batch_unrounded():
    spec = SPEC._replace(dtype="float32")
    (batch,) = stream(count=1, decode=scaled, spec=spec, augment=plain)
    (levels,) = stream(count=1, augment=plain)
    assert batch["image"].dtype == np.float32
    assert np.abs(batch["image"] * 255 - levels["image"]).max() < 1e-4
