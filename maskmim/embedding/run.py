"""One embedding from the source to the file: continue, encode, write."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maskmim import __version__
from maskmim.data.records import TooManyBadImages, content_sample
from maskmim.data.shard_writer import lock_folder
from maskmim.embedding.encoder import Encoder
from maskmim.embedding.outputs import write_table
from maskmim.embedding.parts import Part, Parts, joined
from maskmim.embedding.progress import FileProgress
from maskmim.embedding.rows import Batch, Place, Reader, one_ahead
from maskmim.embedding.source import Source, open_source
from maskmim.embedding.table import END, FEATURES, LABEL, RECORD, START, TYPES, Table
from maskmim.embedding.windows import Cut
from maskmim.errors import count_of
from maskmim.files import write_atomic
from maskmim.inference.batches import padded_size
from maskmim.inference.loaded import Loaded, sides
from maskmim.inference.model import BATCH_SIZE
from maskmim.runtime import activity

# A part is written after this long, or when it has so many bytes of features.
PART_SECONDS, PART_BYTES = 20.0, 2**26


class Done(NamedTuple):
    """What was written. bad_list: the file that names the bad files; None where all were read."""

    table: str
    bad: int
    bad_list: Path | None


def prepare(
    loaded: Loaded,
    data: str,
    *,
    batch_size: int = BATCH_SIZE,
    pooling: str | None = None,
    layers: Sequence[int] | None = None,
    cut: Cut | None = None,
) -> Embedding:
    """Open a source and check that everything fits; compute nothing.

    data: as of `source.open_source`. pooling, layers: as of `Encoder`. cut: into windows.
    batch_size: the largest batch; a source of fewer files has a smaller one.
    Raises EmbedError, InferenceError, DataError.
    """
    source = open_source(data, loaded)
    size = batch_size if cut else padded_size(len(source.records), batch_size)
    encoder = Encoder(loaded, size, pooling, layers)
    reader = Reader(source, loaded, cut)
    decisive = {
        "data": data,
        "pooling": encoder.pooling,
        "layers": ",".join(map(str, encoder.layers or ())) or "output",
        "size": sides(loaded.spec.size),
        "window": f"{cut.length:g}" if cut else "",
        "stride": f"{cut.stride:g}" if cut else "",
    }
    settings = {
        "model": encoder.identity(),
        "files": source.records.fingerprint,
        "sample": content_sample(source.records),
        "batch-size": batch_size,
        **decisive,
    }
    about = {"maskmim": __version__, "source": loaded.title, **decisive}
    return Embedding(source, reader, encoder, cut is not None, settings, about)


class Embedding(NamedTuple):
    """A source, its reader, the encoder, and what the output says of them.

    windows: whether rows are windows. settings: what decides the rows, see `Parts`.
    about: {key: text}, stored in the output.
    """

    source: Source
    reader: Reader
    encoder: Encoder
    windows: bool
    settings: Mapping[str, Any]
    about: Mapping[str, str]

    def write(self, out: Path, *, force: bool = False) -> Done:
        """Encode all rows and write them to a file; continue where an earlier run was ended.

        The file, its list of bad files and the removal of the parts come at the end; until then,
        the file is as it was. Raises TooManyBadImages where no file can be read.
        """
        out.parent.mkdir(parents=True, exist_ok=True)
        parts = Parts(out, self.settings)
        parts.folder.mkdir(exist_ok=True)
        with lock_folder(parts.folder):
            parts.open(force=force)
            following = [Place(0), *(place for _, place in parts.states())][-1]
            if parts.count:
                total = len(self.source.records)
                print(f"{out}: continuing at file {following.file:,} of {total:,}")
            self._encode(parts, following)
            bad = [pair for pairs, _ in parts.states() for pair in pairs]
            bad_list = self._list_bad(out, bad)
            name, classes = self.source.records.name, dict(self.source.records.labels)
            table = Table(parts, name, self.encoder.row_shape, classes, self.windows, self.about)
            if not table.count():
                parts.remove()
                raise TooManyBadImages(
                    f"none of the {count_of(len(self.source.records), 'file')} can be read: see "
                    f"{bad_list}"
                )
            write_table(out, table)
            done = Done(table.describe(), len(bad), bad_list)
            parts.remove()
        return done

    def _encode(self, parts: Parts, begin: Place) -> None:
        """Encode from a place to the end, and add the parts."""
        total = len(self.source.records)
        if begin.file >= total:
            return
        held: list[Part] = []
        since = time.monotonic()
        progress = FileProgress(total, begin.file, noun="window" if self.windows else "")
        first = "compiling the encoder, and encoding the first batch"
        try:
            for batch in one_ahead(self.reader.batches(begin, self.encoder.batch_size)):
                with activity.during(first) if first else contextlib.nullcontext():
                    held.append(self._part(batch))
                first = ""
                progress.update(batch.following.file, len(batch.rows))
                size = sum(part.columns[FEATURES].nbytes for part in held)
                if time.monotonic() - since >= PART_SECONDS or size >= PART_BYTES:
                    # Let go first: an interruption after the write must not add them twice.
                    due, held, since = held, [], time.monotonic()
                    parts.add(joined(due))
        finally:  # also where Ctrl-C or an error ends it: what is encoded is kept
            progress.close()
            if held:
                parts.add(joined(held))

    def _part(self, batch: Batch) -> Part:
        """Encode a batch; return its rows without what they were made of."""
        rows = batch.rows
        columns = {FEATURES: self.encoder.encode([row.arrays for row in rows])}
        given = {
            RECORD: [row.place.file for row in rows],
            START: [row.start for row in rows],
            END: [row.end for row in rows],
        }
        columns |= {name: np.array(values, TYPES[name]) for name, values in given.items()}
        for key in self.source.records.labels:
            columns[f"{LABEL}{key}"] = np.array([row.labels[key] for row in rows], np.int32)
        return Part(columns, batch.bad, batch.following)

    def _list_bad(self, out: Path, bad: list[tuple[int, str]]) -> Path | None:
        """Write the bad files beside the output, one a line; return None for none."""
        path = out.with_name(f"{out.name}.bad_files.txt")
        if not bad:
            path.unlink(missing_ok=True)
            return None
        names = (" ".join(self.source.records.name(file).split()) for file, _ in bad)
        lines = (
            f"{name}\t{' '.join(why.split())}\n" for name, (_, why) in zip(names, bad, strict=True)
        )
        write_atomic(path, "".join(lines).encode("utf-8", "surrogateescape"))
        return path
