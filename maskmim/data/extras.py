"""Optional libraries, which only some data formats need."""

from __future__ import annotations

import importlib
from types import ModuleType

from maskmim.data.records import DataError


def import_extra(module: str, *, name: str, what: str) -> ModuleType:
    """Import a library that an extra of this package installs.

    name: of the extra, as in maskmim[video]. what: the data that it reads, for the message.
    Raises DataError where it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise DataError(
            f"reading {what} needs {module}, which is not installed: pip install {module}, or "
            f"'maskmim[{name}]'"
        ) from error
