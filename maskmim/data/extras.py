"""Libraries that only some data need, so that they are no dependency of the rest."""

from __future__ import annotations

import importlib
from types import ModuleType

from maskmim.data.records import DataError


def extra(module: str, *, name: str, what: str) -> ModuleType:
    """A library that is installed with an extra of this package.

    module: to import. name: of the extra, as in maskmim[video]. what: reads it, for the message.
    Raises DataError where it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise DataError(
            f"{what} are read by {module}, which is not installed: pip install {module}, or "
            f"'maskmim[{name}]'"
        ) from error
