import numpy as np
import pytest

from maskmim.data.bad_files import TOLERATED, BadFiles
from maskmim.data.decode import decode
from maskmim.data.folder import unlabelled
from maskmim.data.pipeline import train_batches
from maskmim.data.records import BadImage, TooManyBadImages
from maskmim.data.transforms import random_resized_crop_flip
from maskmim.types import Spec
from tests.data import files


def batch(*bad, reason="empty file"):
    reasons = tuple(reason if index >= 0 else "" for index in bad)
    return {"bad": np.array(bad, np.int64), "reason": reasons}


def folder_of(path, good, bad):
    png = files.encoded(files.picture(0), "PNG")
    files.write(path, {f"{i:04d}.png": b"" if i < bad else png for i in range(good + bad)})
    return unlabelled(path=str(path))


def test_odd_folders_train_and_are_reported(tmp_path):
    files.write(tmp_path / "images", files.bad_files() | files.odd_files())
    records = unlabelled(path=str(tmp_path / "images"))
    seen = BadFiles(records, tmp_path / "run")
    batches = train_batches(
        records,
        spec=Spec((16, 16), 3, (0.5,) * 3, (0.25,) * 3),
        batch_size=4,
        seed=0,
        augment=random_resized_crop_flip,
    )
    for _ in range(3 * len(records) // 4 + 1):
        seen.see(next(batches))
    lines = (tmp_path / "run" / "bad_files.txt").read_text().splitlines()
    listed = dict(line.split("\t") for line in lines)
    assert len(lines) == len(listed) == seen.count == 5
    assert set(listed) == set(files.bad_files())
    assert listed["empty.png"] == "empty file"
    assert "more pixels than the limit" in listed["huge.png"]
    assert all(listed.values())


def test_nothing_is_written_without_bad_files(tmp_path):
    seen = BadFiles(folder_of(tmp_path / "images", 5, 0), tmp_path)
    seen.see(batch(-1, -1))
    assert seen.count == 0 and not (tmp_path / "bad_files.txt").exists()


def test_a_later_run_continues_the_list(tmp_path):
    records = folder_of(tmp_path / "images", 30, 4)
    BadFiles(records, tmp_path).see(batch(1, -1, 0, 1))
    again = BadFiles(records, tmp_path)
    assert again.count == 2
    again.see(batch(0, 3))
    names = [line.split("\t")[0] for line in (tmp_path / "bad_files.txt").read_text().splitlines()]
    assert names == ["0000.png", "0001.png", "0003.png"]


@pytest.mark.parametrize(
    "good, bad, share, allowed",
    [
        (2000, 30, 0.01, 20),  # the share decides
        (200, 30, 0.01, TOLERATED),  # a few are always tolerated
        (5, 8, 0.01, 6),  # but never more than half
        (200, 30, 0.0, 0),  # unless none is allowed
        (60, 40, 0.3, 30),
    ],
)
def test_where_the_limit_lies(tmp_path, good, bad, share, allowed):
    records = folder_of(tmp_path / "images", good, bad)
    seen = BadFiles(records, tmp_path, max_bad_share=share)
    for index in range(allowed):
        seen.see(batch(index, index))
    if allowed < bad:
        with pytest.raises(
            TooManyBadImages, match=f"{allowed + 1} of {good + bad} images"
        ) as caught:
            seen.see(batch(allowed))
        assert "bad_files.txt" in str(caught.value) and "max_bad_share" in str(caught.value)
        assert caught.value.exit_code == 66


def test_names_with_tabs_and_odd_bytes_stay_on_one_line(tmp_path):
    name = b"ta\tb \xff \xc3\xa4.png".decode("utf-8", "surrogateescape")
    files.write(tmp_path / "images", {name: b"", "good.png": files.encoded(files.picture(), "PNG")})
    records = unlabelled(path=str(tmp_path / "images"))
    index = [records.name(i) for i in range(2)].index(name)
    BadFiles(records, tmp_path).see(batch(index))
    assert (tmp_path / "bad_files.txt").read_bytes() == b"ta b \xff \xc3\xa4.png\tempty file\n"
    assert BadFiles(records, tmp_path).count == 1


def moody(rng, encoded, *, channels):
    """Fail by what is drawn: another draw would give another reason, or none."""
    if encoded == b"":
        raise BadImage(f"draw {rng.integers(10**9)}")
    return decode(encoded, channels=channels)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.full)])
def test_the_reason_is_the_first_that_happened(tmp_path, workers):
    records = folder_of(tmp_path / "images", 5, 3)
    batches = train_batches(
        records,
        spec=Spec((16, 16), 3, (0.5,) * 3, (0.25,) * 3),
        batch_size=8,
        seed=3,
        augment=random_resized_crop_flip,
        decode=moody,
        workers=workers,
    )
    seen, first = BadFiles(records, tmp_path), {}
    order = []
    for _ in range(2):
        one = next(batches)
        order += one["record"].tolist()
        seen.see(one)
        for index, reason in zip(one["bad"], one["reason"], strict=True):
            assert (index < 0) == (reason == "")
            first.setdefault(int(index), reason)
    # What decoding draws depends on seed and position alone.
    for index in range(3):
        philox = np.random.Philox(key=[3, order.index(index)])
        assert first[index] == f"draw {np.random.Generator(philox).integers(10**9)}"
    lines = (tmp_path / "bad_files.txt").read_text().splitlines()
    assert dict(line.split("\t") for line in lines) == {
        f"{index:04d}.png": first[index] for index in range(3)
    }


def test_a_reason_of_several_lines_stays_on_one(tmp_path):
    records = folder_of(tmp_path / "images", 5, 3)
    BadFiles(records, tmp_path).see(batch(0, reason="one\n\ttwo"))
    BadFiles(records, tmp_path).see(batch(0, reason="later"))
    assert (tmp_path / "bad_files.txt").read_text() == "0000.png\tone two\n"
