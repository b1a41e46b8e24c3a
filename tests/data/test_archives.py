import contextlib
import io
import os
import pickle
import random
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from maskmim import convert
from maskmim.data import archives, folder
from maskmim.data.records import BadImage, DataError
from tests.data import files

LONG = "a" * 120 + "/" + "b" * 130 + ".png"


def images(count=7):
    return {
        f"{('dog', 'cat', 'ötter')[i % 3]}/{i:02d}.png": files.encoded(files.picture(i), "PNG")
        for i in range(count)
    }


def tar(path, content, form=tarfile.GNU_FORMAT, extra=()):
    with tarfile.open(path, "w", format=form) as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in extra:
            archive.addfile(info)
    return path


def packed(path, content, pack=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", pack) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


MAKERS = {
    "gnu": lambda path, content: tar(path, content),
    "pax": lambda path, content: tar(path, content, tarfile.PAX_FORMAT),
    "zip": packed,
    "stored": lambda path, content: packed(path, content, zipfile.ZIP_STORED),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_an_archive_gives_what_the_folder_gives(tmp_path, kind):
    content = images() | {"cat/notes.txt": b"no image", LONG.replace(".png", "/x.png"): b"bad"}
    files.write(tmp_path / "in", content)
    path = MAKERS[kind](tmp_path / "archive", dict(sorted(content.items(), reverse=True)))
    expected = folder.labelled(path=str(tmp_path / "in"))
    found = archives.labelled(path=str(path))
    assert found.labels == expected.labels and found.fingerprint == expected.fingerprint
    assert len(found) == len(expected) == 8
    found = pickle.loads(pickle.dumps(found))
    order = random.Random(0).sample(range(8), 8)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(found.__getitem__, order)) == [expected[i] for i in order]
    assert [found.name(i) for i in range(8)] == [expected.name(i) for i in range(8)]
    with pytest.raises(IndexError):
        found[8]


def test_shards_of_a_tar_are_those_of_the_folder(tmp_path):
    files.write(tmp_path / "in", images())
    tar(tmp_path / "in.tar", images())
    for source in ("in", "in.tar"):
        words = ["--source", f"labelled:{tmp_path / source}", "--shard-size", "3"]
        convert.main([*words, "--out", str(tmp_path / f"out-{source}")])
    one, other = (
        {p.name: p.read_bytes() for p in (tmp_path / f"out-{source}").iterdir()}
        for source in ("in", "in.tar")
    )
    assert one == other and len(one) == 5


def test_folders_that_all_share_are_taken_off(tmp_path):
    content = {f"./set/train/{name}": data for name, data in images().items()}
    found = archives.labelled(path=str(tar(tmp_path / "a.tar", content)))
    assert found.labels == {"class": ("cat", "dog", "ötter")}
    assert found.name(0) == "cat/01.png"
    plain = archives.unlabelled(path=str(tmp_path / "a.tar"))
    assert plain.labels == {} and plain.name(0) == "set/train/cat/01.png" and not plain[0].labels


def test_one_class_or_none_is_refused(tmp_path):
    alone = {name: data for name, data in images().items() if name.startswith("cat")}
    path = tar(tmp_path / "a.tar", alone)
    with pytest.raises(DataError, match=r"no folders of images.*folder:"):
        archives.labelled(path=str(path))


def hostile_tar(path):
    links = []
    for name, kind, target in [
        ("cat/link.png", tarfile.SYMTYPE, "/etc/passwd"),
        ("cat/hard.png", tarfile.LNKTYPE, "../../outside.png"),
        ("cat/pipe.png", tarfile.FIFOTYPE, ""),
    ]:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        links.append(info)
    outside = dict.fromkeys(("../../outside.png", "/tmp/absolute.png", "cat/../../up.png"), b"x")
    return tar(path, images() | outside, extra=links)


def hostile_zip(path):
    outside = dict.fromkeys(("../../outside.png", "/tmp/absolute.png", "C:\\up.png"), b"x")
    packed(path, images() | outside)
    with zipfile.ZipFile(path, "a") as archive:
        for name, target in [("cat/link.png", "/etc/passwd"), ("dog/..\\..\\u.png", "")]:
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 << 16) if target else 0
            archive.writestr(info, target)
    return path


@pytest.mark.parametrize("make", [hostile_tar, hostile_zip])
def test_links_and_names_that_lead_outside_are_passed_over_and_nothing_is_written(
    tmp_path, make, capsys
):
    inner = tmp_path / "deep" / "deeper"
    inner.mkdir(parents=True)
    path = make(inner / "hostile")
    before = {str(p) for p in tmp_path.rglob("*")}
    found = archives.labelled(path=str(path))
    assert [found.name(i) for i in range(len(found))] == sorted(images())
    assert found.passed == 5
    out = inner / "out"
    convert.main(["--source", f"labelled:{path}", "--out", str(out)])
    assert "5 entries skipped: links, names" in capsys.readouterr().out
    written = {str(p) for p in tmp_path.rglob("*")} - before
    assert written and all(name.startswith(str(out)) for name in written)
    assert not os.path.exists("/tmp/absolute.png")


@pytest.mark.parametrize("mode, packer", [("w:gz", "gzip"), ("w:bz2", "bzip2"), ("w:xz", "xz")])
def test_archives_compressed_as_a_whole_are_refused(tmp_path, mode, packer):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, mode) as archive:
        archive.addfile(tarfile.TarInfo("cat/x.png"))
    with pytest.raises(DataError, match=f"compressed with {packer}.*gunzip"):
        archives.unlabelled(path=str(path))


def test_a_zip_file_of_a_later_version_is_refused(tmp_path):
    path = packed(tmp_path / "a.zip", {"x.png": b"y"})
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"PK\x01\x02") + 6] = 99  # the version that reading the entry needs
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"zip file version 9\.9"):
        archives.unlabelled(path=str(path))


def test_every_incomplete_tar_is_refused(tmp_path):
    whole = tar(tmp_path / "a.tar", images()).read_bytes()
    end = len(whole.rstrip(b"\0"))
    cut = tmp_path / "cut.tar"
    for size in [*range(512, end, 512), *range(700, end, 1000)]:
        cut.write_bytes(whole[:size])
        with pytest.raises(DataError, match="incomplete"):
            archives.unlabelled(path=str(cut))


def test_a_damaged_header_is_no_end(tmp_path):
    path = tar(tmp_path / "a.tar", images())
    members, _ = archives.list_members(path)
    spoilt = bytearray(path.read_bytes())
    spoilt[members[3].offset - 512 + 20] ^= 1
    path.write_bytes(spoilt)
    with pytest.raises(DataError, match=f"damaged entry at byte {members[3].offset - 512}"):
        archives.unlabelled(path=str(path))


def test_random_damage_never_hangs_nor_raises_anything_else(tmp_path):
    rng = random.Random(0)
    for make in MAKERS.values():
        whole = make(tmp_path / "a", {LONG: b"y", **images(3)}).read_bytes()
        for _ in range(150):
            spoilt = bytearray(whole)
            for _ in range(rng.randint(1, 6)):
                spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
            (tmp_path / "b").write_bytes(spoilt[: rng.choice([len(spoilt), rng.randrange(9999)])])
            try:
                records = archives.unlabelled(path=str(tmp_path / "b"))
            except DataError:
                continue
            for index in range(len(records)):
                with contextlib.suppress(BadImage):
                    records[index]


def test_a_member_larger_than_an_image_can_be_is_not_read(tmp_path):
    path = tar(tmp_path / "a.tar", images())
    members, _ = archives.list_members(path)
    with pytest.raises(BadImage, match="more than the limit"):
        archives.read_member(members[0]._replace(size=archives.MAX_BYTES + 1))


def test_an_archive_that_shrank_gives_bad_images(tmp_path):
    path = tar(tmp_path / "a.tar", images())
    records = archives.unlabelled(path=str(path))
    os.truncate(path, 600)
    with pytest.raises(BadImage, match="too early"):
        records[5]
    path.unlink()
    with pytest.raises(BadImage, match="cannot be read from its archive"):
        records[5]


@pytest.mark.parametrize("content", [b"", b"nothing of the kind" * 99, b"PK\x03\x04" + bytes(99)])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match="incomplete"):
        archives.unlabelled(path=str(tmp_path / "x"))


def test_an_archive_without_images_is_refused(tmp_path):
    path = tar(tmp_path / "a.tar", {"a.txt": b"x"})
    with pytest.raises(DataError, match=r"holds no images .*only 1 other file "):
        archives.unlabelled(path=str(path))


@pytest.mark.parametrize("kind", MAKERS)
def test_hidden_files_of_archives_are_skipped_as_in_folders(tmp_path, kind, capsys):
    """What macOS adds to zip files is no class, and looks like images."""
    content = images() | {"notes.pdf": b"x", "beside.png": files.encoded(files.picture(), "PNG")}
    junk = {f"__MACOSX/dog/._{i:02d}.png": b"\0\5\x16\7" for i in range(3)}
    junk |= {"__MACOSX/._dog": b"x", ".DS_Store": b"x", "cat/.hidden/a.png": b"x", "._x.png": b"x"}
    files.write(tmp_path / "in", content | junk)
    path = MAKERS[kind](tmp_path / f"archive-{kind}", content | junk)
    expected = folder.labelled(path=str(tmp_path / "in"))
    found = archives.labelled(path=str(path))
    assert found.labels == expected.labels == {"class": ("cat", "dog", "ötter")}
    assert found.fingerprint == expected.fingerprint
    said = capsys.readouterr().err.splitlines()
    assert f"maskmim: {path}: left out 1 .pdf" in said
    assert f"maskmim: {path}: left out 1 image beside the class folders" in said


def test_parts_of_a_data_set_in_an_archive_are_no_classes(tmp_path):
    png = files.encoded(files.picture(), "PNG")
    path = packed(tmp_path / "a.zip", {"data/train/cat/1.png": png, "data/val/cat/2.png": png})
    with pytest.raises(DataError, match="are train, val: these are parts of a data set"):
        archives.labelled(path=str(path))


def test_an_archive_that_may_not_be_read(tmp_path, monkeypatch):
    path = packed(tmp_path / "a.zip", images())

    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(DataError, match=r"a.zip cannot be read \(Permission denied\)"):
        archives.unlabelled(path=str(path))


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_the_later_of_two_entries_of_one_name_counts_as_when_unpacking(tmp_path, kind):
    path = tmp_path / f"twice.{kind}"
    contents = [("a/0.png", b"first"), ("a/1.png", b"other"), ("./a/0.png", b"second")]
    if kind == "tar":
        with tarfile.open(path, "w") as archive:
            for name, content in contents:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        with tarfile.open(path) as archive:
            archive.extractall(tmp_path / "out", filter="data")
        assert (tmp_path / "out/a/0.png").read_bytes() == b"second"
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in contents:
                archive.writestr(name, content)
    found = archives.unlabelled(path=str(path))
    assert [found.name(i) for i in range(len(found))] == ["a/0.png", "a/1.png"]
    assert [found[i].encoded for i in range(2)] == [b"second", b"other"] and found.passed == 1
