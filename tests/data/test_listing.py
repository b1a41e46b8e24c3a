"""What lies below a folder: nothing is left out in silence, nothing is waited for."""

import os
import socket

import pytest

from maskmim.data import folder, listing, sound_folder, video_folder
from maskmim.data.records import BadImage, DataError
from tests.data import files

PNG = files.encoded(files.picture(), "PNG")
SOURCES = [
    (folder.unlabelled, ".png"),
    (folder.labelled, ".png"),
    (video_folder.unlabelled, ".mp4"),
    (video_folder.labelled, ".mp4"),
    (sound_folder.recordings, ".wav"),
]


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch):
    monkeypatch.setattr(listing, "_told", set())


def names(records):
    return [records.name(index) for index in range(len(records))]


def deny(monkeypatch, *folders, error=None):
    """Let os.scandir fail in some folders: tests may run as root, who may read everything."""
    real = os.scandir
    denied = {os.path.realpath(each) for each in folders}

    def scandir(path="."):
        if os.path.realpath(path) in denied:
            raise error or PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.mark.parametrize("source, suffix", SOURCES)
def test_folders_that_cannot_be_read_are_named(tmp_path, monkeypatch, source, suffix):
    files.write(tmp_path, {f"c{i}/a{suffix}": PNG for i in range(9)})
    deny(monkeypatch, *(tmp_path / f"c{i}" for i in range(1, 8)))
    with pytest.raises(DataError) as error:
        source(path=str(tmp_path))
    said = str(error.value)
    assert "7 folders" in said and "c1 (Permission denied), c2" in said and "and 2 more" in said
    assert str(tmp_path) in said and "chmod u+rx" in said


def test_one_folder_deep_below_and_the_root_itself(tmp_path, monkeypatch):
    files.write(tmp_path, {"a/b/c.png": PNG, "d.png": PNG})
    deny(monkeypatch, tmp_path / "a" / "b", error=OSError(5, "Input/output error"))
    with pytest.raises(DataError, match=r"1 folder in .* and its files .*: a/b \(Input/output err"):
        folder.unlabelled(path=str(tmp_path))
    deny(monkeypatch, tmp_path)
    with pytest.raises(DataError, match=r"1 folder in .*: \. \(Permission denied\)"):
        folder.unlabelled(path=str(tmp_path))


def test_hidden_and_junk_folders_need_not_be_readable(tmp_path, monkeypatch):
    files.write(tmp_path, {"a.png": PNG, "lost+found/x.png": PNG, ".cache/y.png": PNG})
    files.write(tmp_path, {"__MACOSX/a.png": PNG, "@eaDir/b.png": PNG, "._a.png": b"x"})
    deny(monkeypatch, *(tmp_path / name for name in ("lost+found", ".cache", "__MACOSX")))
    assert names(folder.unlabelled(path=str(tmp_path))) == ["a.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter everything")
def test_a_folder_that_may_be_listed_but_not_entered(tmp_path):
    files.write(tmp_path, {"a.png": PNG, "c/b.png": PNG})
    os.chmod(tmp_path / "c", 0o444)
    try:
        with pytest.raises(DataError, match=r"c \(Permission denied\)"):
            folder.unlabelled(path=str(tmp_path))
    finally:
        os.chmod(tmp_path / "c", 0o755)


def test_a_path_whose_parent_may_not_be_entered(tmp_path, monkeypatch):
    def stat(self, **_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.stat", stat)
    with pytest.raises(DataError, match=r"cannot be entered \(Permission denied\)"):
        folder.unlabelled(path=str(tmp_path))


def test_pipes_sockets_and_links_are_counted_not_opened(tmp_path, capsys):
    root = tmp_path / "root"
    files.write(root, {"a.png": PNG, "sub/b.png": PNG, "empty.png": b""})
    os.mkfifo(root / "pipe.png")  # reading it would wait forever
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(root / "sub" / "s.png"))
        (root / "gone").symlink_to(tmp_path / "unmounted")
        (root / "gone.png").symlink_to(tmp_path / "deleted.png")
        (root / "loop.png").symlink_to("loop.png")
        (root / "again").symlink_to(root / "sub")
        (root / "to_pipe.png").symlink_to("pipe.png")
        records = folder.unlabelled(path=str(root))
    assert names(records) == ["a.png", "empty.png", "gone.png", "loop.png", "sub/b.png"]
    for index in (2, 3):
        with pytest.raises(BadImage):
            records[index]
    said = capsys.readouterr().err
    assert "3 pipes, sockets or devices" in said and "1 broken link," in said
    assert "1 link to folder that is listed already" in said.replace(" are ", " is ")


def test_a_folder_keeps_its_own_name_where_a_link_leads_to_it(tmp_path):
    """'a' sorts before 'zebra', and would have taken the images of that class."""
    files.write(tmp_path, {"zebra/1.png": PNG, "cat/2.png": PNG})
    (tmp_path / "a").symlink_to("zebra")
    records = folder.labelled(path=str(tmp_path))
    assert names(records) == ["cat/2.png", "zebra/1.png"]
    assert records.labels == {"class": ("cat", "zebra")}


def test_classes_may_be_links_to_folders_elsewhere(tmp_path):
    files.write(tmp_path / "all", {"cat/1.png": PNG, "dog/2.png": PNG})
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "cat").symlink_to(tmp_path / "all" / "cat")
    assert names(folder.labelled(path=str(tmp_path / "some"))) == ["cat/1.png"]


def test_what_is_left_out_is_counted_once_by_kind(tmp_path, capsys):
    content = {f"{i}.HEIC": b"x" for i in range(12)} | {f"{i}.pdf": b"x" for i in range(3)}
    files.write(tmp_path, {"a.png": PNG, "README": b"x", **content})
    for _ in range(2):
        folder.unlabelled(path=str(tmp_path))
    err = capsys.readouterr().err
    assert err == f"maskmim: {tmp_path}: left out 12 .heic, 3 .pdf, 1 file without a suffix\n"
    folder.unlabelled(path=str(tmp_path / ".." / tmp_path.name))


def test_nothing_is_said_where_nothing_is_left_out(tmp_path, capsys):
    files.write(tmp_path, {"c/a.png": PNG, "d/b.JPG": PNG, ".DS_Store": b"x"})
    folder.labelled(path=str(tmp_path))
    assert capsys.readouterr().err == ""


def test_many_kinds_are_summed(tmp_path, capsys):
    files.write(tmp_path, {"a.png": PNG} | {f"f.x{i:02d}": b"x" for i in range(14)})
    folder.unlabelled(path=str(tmp_path))
    assert capsys.readouterr().err.endswith("1 .x09, 4 of other kinds\n")


def test_images_beside_the_classes_and_empty_classes_are_named(tmp_path, capsys):
    files.write(tmp_path, {"cat/1.png": PNG, "dog/2.png": PNG, "x.png": PNG, "y.png": PNG})
    files.write(tmp_path, {"notes/a.txt": b"x", "__MACOSX/cat/._1.png": b"x"})
    (tmp_path / "zebra").mkdir()
    records = folder.labelled(path=str(tmp_path))
    assert records.labels == {"class": ("cat", "dog")}
    err = capsys.readouterr().err
    assert "2 images beside the class folders, 1 .txt" in err
    assert "subfolders without images are no classes: notes, zebra" in err
    named = folder.labelled(path=str(tmp_path), classes=("cat", "dog", "zebra"))
    assert named.labels == {"class": ("cat", "dog", "zebra")}


@pytest.mark.parametrize("found", [("train", "val"), ("Train", "test"), ("test",)])
def test_parts_of_a_data_set_are_no_classes(tmp_path, found):
    files.write(tmp_path, {f"{name}/cat/1.png": PNG for name in found})
    with pytest.raises(DataError, match=f"parts of a data set, not classes.*path={tmp_path}/"):
        folder.labelled(path=str(tmp_path))
    assert folder.labelled(path=str(tmp_path), classes=found).labels == {"class": found}


def test_names_that_are_not_utf8_are_read_and_printed(tmp_path, capsys):
    odd = b"caf\xe9/b\xff.png".decode("utf-8", "surrogateescape")
    files.write(tmp_path, {odd: PNG, "a.\udcff": b"x"})
    records = folder.labelled(path=str(tmp_path))
    assert names(records) == [odd] and records[0].encoded == PNG
    capsys.readouterr().err.encode("utf-8")


def test_only_others_are_named_in_the_error(tmp_path):
    files.write(tmp_path, {f"{i}.heic": b"x" for i in range(3)})
    with pytest.raises(DataError, match=r"no images \(jpg.*only 3 other files \(3 .heic\): set"):
        folder.unlabelled(path=str(tmp_path))
