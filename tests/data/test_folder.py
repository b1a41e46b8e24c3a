import os

import pytest

from maskmim.data.folder import SUFFIXES, labelled, unlabelled
from maskmim.data.records import BadImage, DataError, Records
from tests.data import files

PNG = files.encoded(files.picture(), "PNG")


def names(records):
    return [records.name(index) for index in range(len(records))]


def test_nested_and_flat_images_are_found_in_order(tmp_path):
    wanted = ["B.JPG", "a.png", "deep/er/c.WebP", "deep/d.tiff", "übung/日本.jpeg"]
    passed_over = [".hidden.png", ".git/x.png", "notes.txt", "deep/.cache/y.png", "png"]
    files.write(tmp_path, {name: PNG for name in wanted + passed_over})
    records = unlabelled(path=str(tmp_path))
    assert isinstance(records, Records)
    assert names(records) == sorted(wanted)
    assert records.labels == {} and records[0].labels == {} and records[0].encoded == PNG


@pytest.mark.parametrize("index", [-1, 2])
def test_a_place_beyond_the_ends_is_an_error(tmp_path, index):
    files.write(tmp_path, {"a.png": PNG, "b.png": PNG})
    with pytest.raises(IndexError, match=f"record {index} of 2"):
        unlabelled(path=str(tmp_path))[index]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_ending_in_any_case(tmp_path, suffix):
    files.write(tmp_path, {f"a{suffix}": PNG, f"b{suffix.upper()}": PNG})
    assert len(unlabelled(path=str(tmp_path))) == 2


def test_the_fingerprint_follows_names_and_sizes(tmp_path):
    files.write(tmp_path / "one", {"a.png": PNG, "b.png": PNG})
    files.write(tmp_path / "two", {"b.png": PNG, "a.png": PNG})
    prints = [unlabelled(path=str(tmp_path / name)).fingerprint for name in ("one", "two")]
    assert prints[0] == prints[1]
    files.write(tmp_path / "two", {"a.png": PNG + b"x"})
    assert unlabelled(path=str(tmp_path / "two")).fingerprint != prints[0]


def test_links_are_followed_and_loops_are_not(tmp_path):
    files.write(tmp_path / "elsewhere", {"x.png": PNG})
    files.write(tmp_path / "root", {"a.png": PNG})
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    records = unlabelled(path=str(tmp_path / "root"))
    assert names(records) == ["a.png", "dangling.png", "linked/x.png"]
    with pytest.raises(BadImage, match="No such file"):
        records[1]


def test_a_folder_that_cannot_be_written_is_read(tmp_path):
    files.write(tmp_path / "images", {"a.png": PNG})
    os.chmod(tmp_path / "images", 0o555)
    try:
        assert unlabelled(path=str(tmp_path / "images"))[0].encoded == PNG
        assert list((tmp_path / "images").iterdir()) == [tmp_path / "images" / "a.png"]
    finally:
        os.chmod(tmp_path / "images", 0o755)


def test_subfolders_are_classes(tmp_path):
    wanted = ["cat/1.png", "cat/more/2.png", "dog/3.png"]
    files.write(tmp_path, {name: PNG for name in [*wanted, "beside.png", ".x/4.png"]})
    (tmp_path / "zebra").mkdir()
    records = labelled(path=str(tmp_path))
    assert names(records) == wanted
    assert records.labels == {"class": ("cat", "dog")}  # an empty folder is no class
    assert [records[i].labels["class"] for i in range(3)] == [0, 0, 1]


def test_named_classes_keep_their_numbers_where_one_is_missing(tmp_path):
    files.write(tmp_path, {"dog/3.png": PNG})
    records = labelled(path=str(tmp_path), classes=("zebra", "dog", "cat"))
    assert records[0].labels == {"class": 1} and len(records.labels["class"]) == 3
    with pytest.raises(DataError, match=r"not among the classes: \['dog'\]"):
        labelled(path=str(tmp_path), classes=("cat",))


@pytest.mark.parametrize("source", [labelled, unlabelled])
def test_a_missing_folder(source, tmp_path):
    with pytest.raises(DataError, match="does not exist: set the path"):
        source(path=str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="set the path"):
        source(path="")
    files.write(tmp_path, {"file.png": PNG})
    with pytest.raises(DataError, match="is a file"):
        source(path=str(tmp_path / "file.png"))


def test_a_folder_without_images(tmp_path):
    files.write(tmp_path, {"a.txt": b"x", "deep/b.csv": b"x"})
    with pytest.raises(DataError, match=r"no images .* only 2 other files"):
        unlabelled(path=str(tmp_path))


def test_labels_need_subfolders(tmp_path):
    files.write(tmp_path, {"a.png": PNG})
    with pytest.raises(DataError, match=r"use maskmim\.data\.folder\.unlabelled"):
        labelled(path=str(tmp_path))
