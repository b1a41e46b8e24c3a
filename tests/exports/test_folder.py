"""Folders are written as a whole, and nothing that no export wrote is replaced."""

import pytest

from maskmim.exports import onnx_graph
from maskmim.exports.folder import check_free, write_folder
from maskmim.exports.subject import ExportError


def fill_with(text):
    return lambda folder: [
        (folder / name).write_text(text) for name in ("config.json", "README.md")
    ]


def test_a_folder_is_replaced_with_force_alone(tmp_path):
    out = tmp_path / "deep" / "out"
    assert write_folder(out, fill_with("one"), force=False) == {"README.md": 3, "config.json": 3}
    with pytest.raises(ExportError, match="--force replaces it"):
        write_folder(out, fill_with("two"), force=False)
    assert (out / "README.md").read_text() == "one"
    write_folder(out, fill_with("three"), force=True)
    assert (out / "README.md").read_text() == "three"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_failure_leaves_what_was_there(tmp_path):
    def fail(folder):
        (folder / "config.json").write_text("half")
        raise OSError("no room")

    out = tmp_path / "out"
    write_folder(out, fill_with("one"), force=False)
    with pytest.raises(OSError, match="no room"):
        write_folder(out, fail, force=True)
    assert (out / "config.json").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_folders_and_files_of_others_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"holds notes\.txt"):
        check_free(tmp_path, force=True)
    with pytest.raises(ExportError, match="is a file"):
        check_free(tmp_path / "notes.txt", force=True)
    (tmp_path / "empty").mkdir()
    check_free(tmp_path / "empty", force=False)
    check_free(tmp_path / "absent", force=False)


def test_absent_libraries_of_onnx_are_named(monkeypatch):
    monkeypatch.setattr(onnx_graph, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match="pip install --no-deps jax2onnx"):
        onnx_graph.check_installed()
