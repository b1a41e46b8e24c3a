"""Writers of tables: safetensors, npz and Parquet, a part at a time, the same bytes each time."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maskmim.data.extras import import_extra
from maskmim.data.records import DataError
from maskmim.embedding.errors import EmbedError
from maskmim.embedding.parts import Part
from maskmim.embedding.table import FEATURES, LABEL, Table

DTYPES = {np.dtype("float32"): "F32", np.dtype("float64"): "F64", np.dtype("int32"): "I32"}
WIDEST_FIRST = ("F64", "F32", "I32", "U8")
CLASSES = "classes/"
# Of every member of an npz file, whose bytes must not depend on the time.
LONG_AGO = (1980, 1, 1, 0, 0, 0)
# Of a row group of Parquet.
GROUP_BYTES = 2**26


def check_output(out: Path, *, force: bool) -> None:
    """Raise EmbedError where an output cannot be written: its suffix, a file that is there.

    Raises it also for Parquet without pyarrow.
    """
    if out.suffix not in WRITERS:
        raise EmbedError(f"--out {out}: its end says what is written, {', '.join(WRITERS)}")
    if out.is_dir():
        raise EmbedError(f"--out {out} is a folder: name a file")
    if out.suffix == ".parquet":
        _pyarrow()
    if os.path.lexists(out) and not force:
        raise EmbedError(f"--out {out} exists: name another file, or replace it with --force")


def write_table(out: Path, table: Table) -> None:
    """Write a table in the format that the suffix says; the file appears whole or not at all."""
    part = out.with_name(out.name + ".part")
    try:
        WRITERS[out.suffix](part, table)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def write_safetensors(path: Path, table: Table) -> None:
    """Write tensors, and `names` u8[...]: UTF-8 with a NUL between two names.

    Metadata: what made the table, and 'classes/<label set>', a JSON list.
    """
    count = table.count()
    arrays = {
        name: (DTYPES[dtype], (count, *shape), dtype.itemsize * count * int(np.prod(shape)))
        for name, (dtype, shape) in table.arrays.items()
    }
    length = sum(map(len, _joined_names(table)))
    arrays["names"] = "U8", (length,), length
    # Tensors lie one after the other, the widest types first, which keeps all of them aligned.
    order = sorted(arrays, key=lambda name: (WIDEST_FIRST.index(arrays[name][0]), name))
    classes = {f"{CLASSES}{key}": json.dumps(names) for key, names in table.classes.items()}
    header: dict[str, Any] = {"__metadata__": {**table.about, **classes}}
    position = 0
    for name in order:
        dtype, shape, size = arrays[name]
        offsets = [position, position + size]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        position += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            chunks = _joined_names(table) if name == "names" else map(_bytes, table.column(name))
            for chunk in chunks:
                file.write(chunk)


def _joined_names(table: Table) -> Iterator[bytes]:
    """Yield the names of all rows as bytes with a NUL between two, part after part."""
    between = b""
    for names in table.names():
        if names:
            yield between + "\0".join(names).encode("utf-8", "surrogateescape")
            between = b"\0"


def _bytes(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def write_npz(path: Path, table: Table) -> None:
    """Write arrays that `numpy.load` reads without pickle.

    Besides the columns: `names` and 'classes/<label set>', of text, and `about`, JSON.
    """
    count = table.count()
    longest = max((len(name) for names in table.names() for name in names), default=0)
    text = np.dtype(f"<U{max(longest, 1)}")
    with zipfile.ZipFile(path, "w") as archive:
        for name, (dtype, shape) in table.arrays.items():
            _store(archive, name, dtype, (count, *shape), table.column(name))
        chunks = (np.array(names, text) for names in table.names())
        _store(archive, "names", text, (count,), chunks)
        for key, classes in table.classes.items():
            array = np.array(classes)
            _store(archive, f"{CLASSES}{key}", array.dtype, array.shape, [array])
        about = np.array(json.dumps(table.about))
        _store(archive, "about", about.dtype, (), [about])


def _store(
    archive: zipfile.ZipFile,
    name: str,
    dtype: np.dtype,
    shape: tuple[int, ...],
    chunks: Iterable[np.ndarray],
) -> None:
    """Add an array to an npz file; its texts are compressed."""
    info = zipfile.ZipInfo(f"{name}.npy", LONG_AGO)
    info.compress_type = zipfile.ZIP_DEFLATED if dtype.kind == "U" else zipfile.ZIP_STORED
    dtype = dtype.newbyteorder("<")
    header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    with archive.open(info, "w", force_zip64=True) as file:
        start = io.BytesIO()
        np.lib.format.write_array_header_1_0(start, header)
        file.write(start.getvalue())
        for chunk in chunks:
            file.write(chunk.astype(dtype, copy=False).tobytes())


def write_parquet(path: Path, table: Table) -> None:
    """Write Parquet: `name`, a dictionary column of each label set, times, `features`.

    Features are lists of a fixed size, nested where a row has several axes. Needs pyarrow.
    Raises EmbedError without it.
    """
    arrow, parquet = _pyarrow()
    schema = _schema(arrow, table)
    rows = max(1, GROUP_BYTES // (4 * int(np.prod(table.row_shape))))
    with parquet.ParquetWriter(path, schema) as writer:
        for group in _groups(arrow, table, schema, rows):
            writer.write_table(group, row_group_size=rows)


def _groups(arrow: Any, table: Table, schema: Any, rows: int) -> Iterator[Any]:
    """Yield tables of so many rows, whatever the parts have; the last one has fewer."""
    held = schema.empty_table()
    for part, names in zip(table.parts, table.names(), strict=True):
        columns = [_column(arrow, table, part, names, field) for field in schema]
        held = arrow.concat_tables([held, arrow.table(columns, schema=schema)])
        while held.num_rows >= rows:
            yield held.slice(0, rows).combine_chunks()
            held = held.slice(rows)
    if held.num_rows:
        yield held.combine_chunks()


def _schema(arrow: Any, table: Table) -> Any:
    """Return the names and the types of the columns of Parquet."""
    features = arrow.float32()
    for side in reversed(table.row_shape):
        features = arrow.list_(features, side)
    fields = [("name", arrow.string())]
    for name, (dtype, _) in table.arrays.items():
        if name.startswith(LABEL):
            fields.append((name, arrow.dictionary(arrow.int32(), arrow.string())))
        elif name != FEATURES:
            fields.append((name, arrow.from_numpy_dtype(dtype)))
    classes = {f"{CLASSES}{key}": json.dumps(names) for key, names in table.classes.items()}
    return arrow.schema([*fields, (FEATURES, features)], metadata={**table.about, **classes})


def _column(arrow: Any, table: Table, part: Part, names: list[str], field: Any) -> Any:
    """Return one column of a part for Parquet."""
    if field.name == "name":
        encoded = (name.encode("utf-8", "surrogateescape") for name in names)
        return arrow.array([name.decode("utf-8", "replace") for name in encoded], field.type)
    column = part.columns[field.name]
    if field.name.startswith(LABEL):
        classes = table.classes[field.name.removeprefix(LABEL)]
        codes = arrow.array(column, arrow.int32())
        return arrow.DictionaryArray.from_arrays(codes, arrow.array(classes, arrow.string()))
    if field.name != FEATURES:
        return arrow.array(column, field.type)
    values = arrow.array(np.ascontiguousarray(column, np.float32).reshape(-1))
    for side in reversed(table.row_shape):
        values = arrow.FixedSizeListArray.from_arrays(values, side)
    return values


def _pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and pyarrow.parquet; raise EmbedError where they are not installed."""
    try:
        return (
            import_extra("pyarrow", name="parquet", what="Parquet"),
            import_extra("pyarrow.parquet", name="parquet", what="Parquet"),
        )
    except DataError:
        raise EmbedError(
            "--out .parquet needs pyarrow, which is not installed: pip install pyarrow, or "
            "'maskmim[parquet]'; .npz and .safetensors need nothing"
        ) from None


WRITERS: Mapping[str, Callable[[Path, Table], None]] = {
    ".safetensors": write_safetensors,
    ".npz": write_npz,
    ".parquet": write_parquet,
}
