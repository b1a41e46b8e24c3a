"""Images inside tar and zip files, read in place: nothing is ever extracted.

The table of an archive is read once; an image is then a place in the file. So its names are labels
and never paths of this machine. Entries that are links, or whose names are absolute or climb with
'..', are passed over and counted.
"""

from __future__ import annotations

import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import numpy as np

from maskmim.data.folder import SUFFIXES, FileRecords
from maskmim.data.records import BadImage, DataError

# An image file above this is refused before it is read: a forged table must not fill the memory.
MAX_BYTES = 1 << 29
BLOCK = 512  # Tar files consist of blocks of so many bytes.
LONGEST = 1 << 20  # An extension header of a tar file, which gives a long name, is never longer.
STORED_IN_TAR, STORED_IN_ZIP = -1, -2
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "zstd"}
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
# NotImplementedError is zipfile's own for an archive of a later version than it knows.
_BAD_ZIP = (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OSError)
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)
_EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
)


class Member(NamedTuple):
    """One file inside an archive.

    name:    its path inside, parts separated by '/'.
    archive: path of the tar or zip file.
    offset:  where its bytes begin there; in a zip file where its local header begins.
    size:    number of its bytes, unpacked.
    packed:  number of its bytes as deflate packed them; STORED_IN_TAR or STORED_IN_ZIP where they
             lie as they are.
    """

    name: str
    archive: str
    offset: int
    size: int
    packed: int = STORED_IN_TAR


class ArchiveRecords(FileRecords):
    """Records of the members of archives, in the order of their names; see `FileRecords`.

    members: the images. passed: how many entries were passed over.
    """

    def __init__(self, members: Sequence[Member], passed: int = 0, classes: Sequence[str] = ()):
        members = sorted(members)
        super().__init__([(member.name, member.size) for member in members], classes)
        self.passed = passed
        self._archives = sorted({member.archive for member in members})
        number = {archive: index for index, archive in enumerate(self._archives)}
        rows = [(number[m.archive], m.offset, m.size, m.packed) for m in members]
        self._places = np.array(rows, np.int64).reshape(-1, 4)

    def _content(self, index: int) -> bytes:
        archive, *place = self._places[index].tolist()
        return content(Member(self._names[index], self._archives[archive], *place))


def unlabelled(*, path: str) -> ArchiveRecords:
    """All images in a tar or zip file, without labels; suffixes as `folder.unlabelled`.

    Raises DataError where the file is no plain tar or zip, is incomplete or holds no images.
    """
    members, passed = images_in(Path(path).expanduser())
    return ArchiveRecords(members, passed)


def labelled(*, path: str) -> ArchiveRecords:
    """Images in a tar or zip file with one folder for each class; label set 'class'.

    Folders that all images share are taken off first; classes are the folders below, by name.
    Raises DataError as `unlabelled`, and where images lie in fewer than two folders.
    """
    members, passed = images_in(Path(path).expanduser())
    shared = len(_shared_folders([member.name for member in members]))
    members = [m._replace(name="/".join(m.name.split("/")[shared:])) for m in members]
    classes = sorted({m.name.split("/")[0] for m in members if "/" in m.name})
    inside = [member for member in members if "/" in member.name]
    if len(classes) < 2:
        raise DataError(
            f"{path} has no folders of images, one for each class: for images without classes use "
            f"folder:{path}"
        )
    return ArchiveRecords(inside, passed, classes)


def _shared_folders(names: Sequence[str]) -> tuple[str, ...]:
    """The folders that all of these paths begin with."""
    low, high = min(names).split("/")[:-1], max(names).split("/")[:-1]
    shared = []
    for one, other in zip(low, high, strict=False):
        if one != other:
            break
        shared.append(one)
    return tuple(shared)


def images_in(path: Path) -> tuple[list[Member], int]:
    """The image files of an archive, and how many entries were passed over."""
    found, passed = table(path)
    images = [member for member in found if member.name.lower().endswith(SUFFIXES)]
    if not images:
        endings = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise DataError(f"{path} holds no images ({endings}), only {len(found)} other files")
    return images, passed


def table(path: Path) -> tuple[list[Member], int]:
    """All regular files of a tar or zip file, and how many entries were passed over.

    Raises DataError where it is missing, compressed as a whole, of another kind or incomplete.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}: name a tar or zip file")
    with path.open("rb") as file:
        start = file.read(6)
        packer = next((name for magic, name in _COMPRESSED.items() if start.startswith(magic)), "")
        if packer:
            raise DataError(
                f"{path} is compressed with {packer}, so that its images cannot be read one by "
                "one: unpack it to a plain tar file first, for example with gunzip"
            )
        if start.startswith(_ZIP_STARTS):
            return _zip_table(path)
        return tar_table(file, path, 0, path.stat().st_size)


def tar_table(file: BinaryIO, path: Path, start: int, end: int) -> tuple[list[Member], int]:
    """The files of the tar that lies in bytes start to end of a file, and the entries passed over.

    Stricter than the standard library, which takes a damaged header for the end. Raises DataError
    where a header is damaged or the end mark is missing: the file is then incomplete.
    """
    found: list[Member] = []
    passed = 0
    for info, offset in _tar_entries(file, path, start, end):
        if info.type in _LINKS:
            passed += 1
        elif info.type in _REGULAR:
            name = inner_name(info.name)
            passed += not name
            found += [Member(name, str(path), offset, info.size)] if name else []
    return found, passed


def _tar_entries(
    file: BinaryIO, path: Path, start: int, end: int
) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """(header, offset of the content) of each entry, with the long names that precede it."""
    at = start
    given: dict[str, str] = {}
    while True:
        file.seek(at)
        block = file.read(BLOCK) if at + BLOCK <= end else b""
        if block and not any(block):
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            extends = info.type in _EXTENSIONS
            info.size = _natural(info.size if extends else given.get("size", info.size))
            if extends:
                given |= _long_fields(info.type, file.read(min(info.size, LONGEST)))
            else:
                info.name, given = given.get("path", info.name), {}
        except (tarfile.HeaderError, ValueError) as error:
            what = f"a damaged entry at byte {at}" if block else "no end mark"
            raise DataError(
                f"{path} has {what}: it is no plain tar file, or incomplete; compare its size and "
                "checksum with the original"
            ) from error
        content = at + BLOCK
        at = content + -(-info.size // BLOCK) * BLOCK
        if at > end:
            raise DataError(f"{path} ends within {info.name}: it is incomplete, get it again")
        if not extends:
            yield info, content


def _natural(size: int | str) -> int:
    """A size as a header gives it; ValueError for one below 0."""
    if int(size) < 0:
        raise ValueError("a negative size")
    return int(size)


def _long_fields(kind: bytes, body: bytes) -> dict[str, str]:
    """'path' and 'size' as an extension header gives them; ValueError where it is damaged.

    GNU tar writes the name alone, POSIX a list of lines 'length key=value' for the next entry.
    """
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": body.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    fields = {}
    while kind == tarfile.XHDTYPE and body.strip(b"\0"):
        length = int(body.partition(b" ")[0])
        if length <= 0:
            raise ValueError("an extension header of no length")
        key, _, value = body[:length].partition(b" ")[2].rstrip(b"\n").partition(b"=")
        if key in (b"path", b"size"):
            fields[key.decode()] = value.decode("utf-8", "surrogateescape")
        body = body[length:]
    return fields


def inner_name(name: str) -> str:
    """A name inside an archive without './'; '' where it is absolute, climbs or says nothing."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0].startswith("/") or ".." in parts or parts[0].endswith(":"):
        return ""
    return "/".join(parts)


def _zip_table(path: Path) -> tuple[list[Member], int]:
    """The files of a zip file, and how many entries were passed over."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except _BAD_ZIP as error:
        raise DataError(f"{path} is damaged or incomplete ({error}): get it again") from error
    found, passed = [], 0
    for entry in entries:
        name = "" if stat.S_ISLNK(entry.external_attr >> 16) else inner_name(entry.filename)
        if not name:
            passed += 1
            continue
        if entry.flag_bits & 1:
            raise DataError(f"{path} is encrypted: unpack it with its password first")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{path} packs {name} in an unusual way: make it anew with zip")
        stored = entry.compress_type == zipfile.ZIP_STORED
        packed = STORED_IN_ZIP if stored else entry.compress_size
        found.append(Member(name, str(path), entry.header_offset, entry.file_size, packed))
    return found, passed


def content(member: Member) -> bytes:
    """The bytes of a member; BadImage where they are too many, missing or damaged."""
    if member.size > MAX_BYTES:
        raise BadImage(f"{member.size:,} bytes are more than the limit of {MAX_BYTES:,}")
    try:
        with open(member.archive, "rb", buffering=0) as file:
            file.seek(member.offset)
            if member.packed == STORED_IN_TAR:
                return _exactly(file, member.size)
            return _from_zip(file, member)
    except (OSError, zlib.error, struct.error) as error:
        raise BadImage(f"cannot be read from its archive: {error}") from error


def _exactly(file: BinaryIO, size: int) -> bytes:
    """So many bytes from where the file stands; BadImage where it ends before."""
    found = file.read(size)
    if len(found) != size:
        raise BadImage(f"the archive ends {size - len(found)} bytes too early")
    return found


def _from_zip(file: BinaryIO, member: Member) -> bytes:
    """The unpacked bytes of a member of a zip file, whose local header comes next in the file."""
    header = _exactly(file, 30)
    name, extra = struct.unpack("<HH", header[26:30])
    if header[:4] != _ZIP_STARTS[0]:
        raise BadImage("its entry in the zip file is damaged")
    file.seek(name + extra, 1)
    if member.packed == STORED_IN_ZIP:
        return _exactly(file, member.size)
    packed = _exactly(file, min(member.packed, MAX_BYTES))
    found = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.size + 1)
    if len(found) != member.size:
        raise BadImage("its entry in the zip file is of another size than the table says")
    return found
