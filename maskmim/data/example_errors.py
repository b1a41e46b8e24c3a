"""Errors of one example: which record, stream and file they are about."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from maskmim.data.no_class import UnknownClass, advice
from maskmim.data.records import BadImage, DataError, Records
from maskmim.types import Spec


@contextlib.contextmanager
def naming(
    records: Records,
    index: int,
    spec: Spec,
    decode: Callable[..., Any],
    key: str = "data.decode",
) -> Iterator[dict[str, str]]:
    """Name the record in an error, or its stream and file where the error says which stream.

    A BadImage, whose record is listed, gets stream and file alone. Yields a dict for the files of
    the record, `Example.files`, to be filled when it is read. decode, key: what decodes the record,
    and its key in the config.
    """
    files: dict[str, str] = {}

    def where(stream: str) -> str:
        file = files.get(stream) or records.name(index)
        return f"{file} ({stream})" if stream else file

    try:
        yield files
    except UnknownClass as error:
        file = files.get(error.stream) or records.name(index)
        raise DataError(f"{file}: {advice(error, spec, decode, key)}") from error
    except DataError as error:
        error.args = (f"{where(error.stream)}: {error}",)
        raise
    except BadImage as error:
        if not error.stream:
            raise
        file = f" ({files[error.stream]})" if error.stream in files else ""
        raise BadImage(f"{error.stream}{file}: {error.reason}") from error
    except Exception as error:
        error.add_note(f"in {where(getattr(error, 'stream', ''))}")
        raise
