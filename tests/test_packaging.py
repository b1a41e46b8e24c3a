"""What the wheel holds and needs, read from the files that say so."""

import re
import runpy
import tomllib

import setuptools

from maskmim.config import python_file
from tests.running import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def requirements(name):
    """The lines of a requirements file that name packages."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {line for line in lines if re.match(r"\w", line)}


def test_requirements_are_those_of_the_wheel_and_of_tfds():
    core = set(PROJECT["dependencies"])
    assert requirements("requirements.txt") == core | set(EXTRAS["tfds"])
    assert not any("tensorflow" in line or "pyarrow" in line for line in core)


def test_extras_for_files_are_those_of_the_tests():
    dev = requirements("requirements-dev.txt")
    assert {*EXTRAS["video"], *EXTRAS["audio"]} <= dev


def test_the_wheel_has_every_package_and_the_configs(monkeypatch):
    said = {}
    monkeypatch.setattr(setuptools, "setup", lambda **keywords: said.update(keywords))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    folders = {path.parent for path in (ROOT / "maskmim").rglob("*.py")}
    packages = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(said["packages"]) == packages | {"maskmim.configs"}
    assert said["package_dir"] == {"maskmim.configs": "configs"}
    assert not (ROOT / "maskmim" / "configs").exists()


def test_names_of_configs_are_found_from_anywhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert python_file.CONFIGS == ROOT / "configs"
    assert python_file.find_config("quickstart") == ROOT / "configs" / "quickstart.py"


def test_configs_inside_an_installed_package_are_found(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "mine.py").touch()
    monkeypatch.setattr(python_file, "CONFIGS", tmp_path / "installed")
    assert python_file.find_config("mine") == tmp_path / "installed" / "mine.py"
