"""Imports of the files that lie beside a config file, for as long as the config is read."""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let code import the modules of a folder, as a script there could; leave no trace of it.

    Afterwards sys.path and sys.modules are as before, except for modules that can be imported
    without the folder. Every use reads the files anew. A module of the same name that was imported
    from elsewhere is set aside meanwhile; those of the standard library are not.
    """
    place = str(folder.resolve())
    aside = _set_aside(folder.resolve())
    before = set(sys.modules)
    writes_bytecode = sys.dont_write_bytecode
    # Stored bytecode of a file that changes within a second would be used again.
    sys.dont_write_bytecode = True
    sys.path.insert(0, place)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes_bytecode
        with contextlib.suppress(ValueError):  # the config may have changed sys.path itself
            sys.path.remove(place)
        new = set(sys.modules) - before
        for name in [name for name in new if _lies_in(sys.modules[name], place)]:
            if not _found_without(name.partition(".")[0]):
                del sys.modules[name]
        sys.modules.update(aside)


def _set_aside(folder: Path) -> dict[str, ModuleType]:
    """Remove from sys.modules, and return, modules from elsewhere that the folder has too."""
    names = {file.stem for file in folder.glob("*.py")}
    names |= {file.parent.name for file in folder.glob("*/__init__.py")}
    names -= sys.stdlib_module_names
    aside = {
        name: module
        for name, module in sys.modules.items()
        if name.partition(".")[0] in names and not _lies_in(module, str(folder))
    }
    for name in aside:
        del sys.modules[name]
    return aside


def _lies_in(module: ModuleType, place: str) -> bool:
    """Return whether a module is a file below a folder."""
    file = getattr(module, "__file__", None)
    return bool(file) and Path(file).resolve().is_relative_to(place)


def _found_without(name: str) -> bool:
    """Return whether a module of this name can be imported from sys.path as it is now."""
    try:
        return importlib.machinery.PathFinder.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
