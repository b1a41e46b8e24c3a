"""The packages of the wheel: maskmim, and configs/ as maskmim.configs; see pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["maskmim*"]), "maskmim.configs"],
    package_dir={"maskmim.configs": "configs"},
)
