"""Some images that cannot be read cost themselves and nothing else; figure R12."""

import functools
import itertools
import random
import threading

import numpy as np
import pytest

from maskmim import convert, errors
from maskmim.data.array_record import shards
from maskmim.data.bad_files import BadFiles
from maskmim.data.decode import picture as decoded
from maskmim.data.folder import unlabelled
from maskmim.data.pipeline import train_batches
from maskmim.data.records import BadImage, DataError, Example, TooManyBadImages
from maskmim.data.transforms import random_resized_crop_flip
from maskmim.types import Spec
from tests.data import files

COUNT = 2000
BATCH = 40
SPEC = Spec((8, 8), 3, (0.5,) * 3, (0.25,) * 3)


class Files:
    """Image files in memory, some of them replaced by broken ones of every kind."""

    labels, fingerprint = {}, "files"

    def __init__(self, share):
        good = [files.encoded(files.picture(seed, (9, 10, 3)), "PNG") for seed in range(20)]
        self.content = [good[index % 20] for index in range(COUNT)]
        chosen = np.random.default_rng(0).permutation(COUNT)[: round(share * COUNT)]
        self.broken = {int(index) for index in chosen}
        kinds = itertools.cycle(files.bad_files().values())
        for index in sorted(self.broken):
            self.content[index] = next(kinds)

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return Example(self.content[index], {})

    def name(self, index):
        return f"{index}.jpg"


class Counted:
    """The image decoder, counting its calls."""

    def __init__(self):
        self.times, self._lock = 0, threading.Lock()

    def __call__(self, rng, encoded, *, channels):
        with self._lock:
            self.times += 1
        return decoded(rng, encoded, channels=channels)


def batches(records, decode=decoded, **options):
    settings = {"seed": 4, "augment": random_resized_crop_flip, "threads": 2, **options}
    return train_batches(records, spec=SPEC, batch_size=BATCH, decode=decode, **settings)


@functools.cache
def records_with(share):
    return Files(share)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01])
def test_a_few_bad_images_cost_their_share_and_are_listed(tmp_path, share):
    """An epoch: one decode for each image, and for a bad one another."""
    records, decode = records_with(share), Counted()
    seen = BadFiles(records, tmp_path)
    stream = batches(records, decode)
    for _ in range(COUNT // BATCH):
        seen.see(next(stream))
    ahead = 3 * BATCH  # batches that are made before they are asked for
    tries = decode.times - COUNT
    assert len(records.broken) <= tries <= len(records.broken) + ahead
    assert len(records.broken) / COUNT <= share + 0.01  # the figure: rate + 1 %
    assert seen.count == len(records.broken) == round(share * COUNT)
    lines = seen.path.read_text().splitlines() if share else []
    assert {line.split("\t")[0] for line in lines} == {f"{i}.jpg" for i in records.broken}
    assert len(lines) == len(records.broken) and all(line.split("\t")[1] for line in lines)


def test_substitutes_are_the_same_whoever_reads():
    records = records_with(0.01)
    whole = list(itertools.islice(batches(records), COUNT // BATCH))
    others = [
        batches(records, threads=threads, process_index=index, process_count=2)
        for index, threads in ((0, 1), (1, 4))
    ]
    for batch in whole:
        halves = [next(stream) for stream in others]
        for key in ("image", "record", "bad"):
            joined = np.concatenate([half[key] for half in halves])
            np.testing.assert_array_equal(batch[key], joined)
    bad = np.concatenate([batch["bad"] for batch in whole])
    assert set(bad[bad >= 0]) == records.broken


def test_above_the_limit_the_run_ends_with_its_code(tmp_path):
    records = records_with(0.02)
    seen, stream = BadFiles(records, tmp_path, max_bad_share=0.01), batches(records)
    with pytest.raises(TooManyBadImages, match=r"2\d of 2000 images cannot.*bad_files") as e:
        for _ in range(COUNT // BATCH):
            seen.see(next(stream))
    assert e.value.exit_code == errors.BAD_DATA


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_but_bad_images_ends_the_run_with_its_code(workers):
    with pytest.raises(TooManyBadImages, match="64 images in a row cannot be read") as caught:
        next(batches(records_with(1.0), workers=workers))
    assert caught.value.exit_code == errors.BAD_DATA


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """Return a shard of 60 pictures, and the contents of its records."""
    folder = tmp_path_factory.mktemp("shards")
    pictures = [files.encoded(files.picture(seed, (40, 40, 3)), "PNG") for seed in range(60)]
    files.write(folder / "in", {f"{i:02d}.png": content for i, content in enumerate(pictures)})
    words = ["--source", f"folder:{folder / 'in'}", "--out", str(folder / "out"), "--workers", "1"]
    assert convert.main(words) == 0
    (path,) = (folder / "out").glob("*.array_record")
    return path, pictures, path.read_bytes()


def test_a_flipped_bit_in_a_shard_is_one_bad_image(shard):
    _, pictures, whole = shard
    chance = random.Random(0)
    for _ in range(8):
        hit = chance.randrange(60)
        place = whole.index(pictures[hit]) + chance.randrange(len(pictures[hit]))
        assert bad_after_flip(shard, place, chance.randrange(8)) == [hit]
    for _ in range(12):  # anywhere, also where only lengths and checksums are
        assert len(bad_after_flip(shard, chance.randrange(len(whole)), chance.randrange(8))) <= 1


def bad_after_flip(shard, place, bit):
    """Return the records that are bad images after a bit of the shard flips; check all others."""
    path, pictures, whole = shard
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
    records, bad = shards(path=str(path.parent)), []
    for index, content in enumerate(pictures):
        try:
            assert records[index].encoded == content
            assert records.name(index) == f"{index:02d}.png"
        except BadImage:
            bad.append(index)
            assert records.name(index) == f"{path.name}[{index}]"
    path.write_bytes(whole)
    return bad


@pytest.mark.parametrize("left", [0.0, 0.5])
def test_a_shard_cut_off_is_told_when_it_is_opened(shard, left):
    path, _, whole = shard
    path.write_bytes(whole[: int(left * len(whole))])
    with pytest.raises(DataError, match=r"cannot be opened.*--verify"):
        shards(path=str(path.parent))
    path.write_bytes(whole)


def test_a_file_that_vanishes_is_a_bad_image(tmp_path):
    """Deleted, or made unreadable by the file system, after the folder was listed."""
    good = files.encoded(files.picture(0), "PNG")
    files.write(tmp_path, {f"{index}.png": good for index in range(5)})
    records = unlabelled(path=str(tmp_path))
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").unlink()
    (tmp_path / "2.png").mkdir()
    for index, reason in ((1, "No such file"), (2, "Is a directory")):
        with pytest.raises(BadImage, match=reason):
            records[index]
