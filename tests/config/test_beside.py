"""Config files that import the files beside them."""

import sys
import types

import pytest

from maskmim.config.load import load
from tests.config.examples import HEADER, message


def config_in(folder, ratio, *, line="config.mask.ratio = my_common.RATIO", before=""):
    """Write my_config.py and my_common.py into a folder; return the path of the config."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "my_common.py").write_text(f"RATIO = {ratio}\n")
    body = f"{before}import my_common\n{HEADER}    {line}\n    return config\n"
    (folder / "my_config.py").write_text(body)
    return str(folder / "my_config.py")


def test_a_config_imports_the_file_beside_it(tmp_path):
    assert load(config_in(tmp_path, 0.25)).mask.ratio == 0.25


def test_an_import_inside_get_config_works_too(tmp_path):
    path = config_in(tmp_path, 0.25, line="import my_other; config.mask.ratio = my_other.RATIO")
    (tmp_path / "my_other.py").write_text("RATIO = 0.125\n")
    assert load(path).mask.ratio == 0.125


def test_packages_beside_it_and_relative_paths(tmp_path, monkeypatch):
    line = "from my_parts.masks import RATIO; config.mask.ratio = RATIO"
    config_in(tmp_path / "conf", 0.25, line=line)
    (tmp_path / "conf" / "my_parts").mkdir()
    (tmp_path / "conf" / "my_parts" / "__init__.py").write_text("")
    (tmp_path / "conf" / "my_parts" / "masks.py").write_text("RATIO = 0.375\n")
    monkeypatch.chdir(tmp_path)
    assert load("conf/my_config.py").mask.ratio == 0.375
    assert not [name for name in sys.modules if name.startswith("my_parts")]


def test_nothing_leaks_and_nothing_is_stale(tmp_path):
    path, modules = list(sys.path), set(sys.modules)
    one, two = config_in(tmp_path / "one", 0.25), config_in(tmp_path / "two", 0.5)
    for _ in range(2):
        assert (load(one).mask.ratio, load(two).mask.ratio) == (0.25, 0.5)
    config_in(tmp_path / "one", 0.75)  # changed within the same second, with the same size
    assert load(one).mask.ratio == 0.75
    assert sys.path == path and "my_common" not in sys.modules
    assert not {name for name in set(sys.modules) - modules if name.startswith("my_")}
    assert not list(tmp_path.glob("*/__pycache__"))


def test_nothing_leaks_where_the_config_is_wrong(tmp_path):
    path = list(sys.path)
    said = message(load, config_in(tmp_path, 0.25, line="config.mask.rtio = my_common.RATIO"), [])
    assert "did you mean 'ratio'?" in said
    assert sys.path == path and "my_common" not in sys.modules


def test_a_mistake_in_the_file_beside_it_has_file_and_line(tmp_path):
    path = config_in(tmp_path, "1 / 0")
    said = message(load, path, [])
    assert f"{tmp_path / 'my_common.py'}:1: ZeroDivisionError" in said
    (tmp_path / "my_common.py").unlink()
    assert "No module named 'my_common'" in message(load, path, [])


def test_a_module_of_the_same_name_from_elsewhere_is_neither_used_nor_lost(tmp_path, monkeypatch):
    other = types.ModuleType("my_common")
    other.RATIO = 0.9
    monkeypatch.setitem(sys.modules, "my_common", other)
    assert load(config_in(tmp_path, 0.25)).mask.ratio == 0.25
    assert sys.modules["my_common"] is other


def test_a_file_named_as_one_of_python_leaves_pythons_own(tmp_path):
    path = config_in(tmp_path, 0.25, before="import json; json.dumps(1)\n")
    (tmp_path / "json.py").write_text("raise RuntimeError\n")
    import json

    assert load(path).mask.ratio == 0.25 and sys.modules["json"] is json


def test_the_package_itself_is_not_imported_twice(tmp_path, monkeypatch):
    """A config in the root of the clone: what lies there can be imported anyway."""
    monkeypatch.syspath_prepend(str(tmp_path))
    path = config_in(tmp_path, 0.25)
    load(path)
    kept = sys.modules["my_common"]
    load(path)
    assert sys.modules.pop("my_common") is kept


@pytest.mark.parametrize("name", ["stripes", "missing"])
def test_a_brick_beside_a_config_asks_for_pythonpath(tmp_path, name):
    path = config_in(tmp_path, 0.25, line=f"config.mask = brick(my_common.{name}, ratio=0.5)")
    with open(tmp_path / "my_common.py", "a") as file:
        file.write("def stripes(x, *, ratio):\n    return x\n")
    said = message(load, path, [])
    assert ("PYTHONPATH" if name == "stripes" else "AttributeError") in said
