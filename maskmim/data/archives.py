"""Images inside tar and zip files, read in place without extracting.

The directory of an archive is read once; an image is then an offset in the file. Names of entries
are labels and never become paths of this machine. Links, entries whose names are absolute or hold
'..', and entries that a later one of the same name replaces, as when unpacking, are skipped and
counted. Hidden files and __MACOSX are skipped as in folders.
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

from maskmim.data import listing
from maskmim.data.folder import SUFFIXES, FileRecords, check_classes, other_files
from maskmim.data.records import BadImage, DataError

# Larger image files are refused before they are read: a forged header must not fill the memory.
MAX_BYTES = 1 << 29
BLOCK = 512  # Block size of tar files in bytes.
LONGEST = 1 << 20  # Limit on the size of a tar extension header, which holds a long name.
STORED_IN_TAR, STORED_IN_ZIP = -1, -2
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "zstd"}
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
# zipfile raises NotImplementedError for an archive of a later version than it supports.
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
    offset:  offset of its first byte; in a zip file of its local header.
    size:    uncompressed size in bytes.
    packed:  size in bytes after deflate; STORED_IN_TAR or STORED_IN_ZIP where it is not compressed.
    """

    name: str
    archive: str
    offset: int
    size: int
    packed: int = STORED_IN_TAR


class ArchiveRecords(FileRecords):
    """Records of the members of archives, ordered by name; see `FileRecords`.

    members: the images. passed: the number of skipped entries.
    """

    def __init__(self, members: Sequence[Member], passed: int = 0, classes: Sequence[str] = ()):
        members = sorted(members)
        super().__init__([(member.name, member.size) for member in members], classes)
        self.passed = passed
        self._archives = sorted({member.archive for member in members})
        numbers = {archive: index for index, archive in enumerate(self._archives)}
        rows = [(numbers[m.archive], m.offset, m.size, m.packed) for m in members]
        self._locations = np.array(rows, np.int64).reshape(-1, 4)

    def _content(self, index: int) -> bytes:
        archive, *location = self._locations[index].tolist()
        return read_member(Member(self._names[index], self._archives[archive], *location))


def unlabelled(*, path: str) -> ArchiveRecords:
    """Return all images in a tar or zip file, without labels; suffixes as `folder.unlabelled`.

    Raises DataError where the file is not an uncompressed tar or a zip file, is incomplete or holds
    no images.
    """
    members, passed = list_images(Path(path).expanduser())
    return ArchiveRecords(members, passed)


def labelled(*, path: str) -> ArchiveRecords:
    """Return the images in a tar or zip file with one folder per class; label set 'class'.

    Strips the folders that all images share; the folders below are the classes, sorted by name.
    Raises DataError as `unlabelled`, and where images lie in fewer than two folders.
    """
    members, passed = list_images(Path(path).expanduser())
    shared = len(_shared_folders([member.name for member in members]))
    members = [m._replace(name="/".join(m.name.split("/")[shared:])) for m in members]
    in_folders = [member for member in members if "/" in member.name]
    classes = sorted({member.name.split("/")[0] for member in in_folders})
    if len(classes) < 2:
        raise DataError(
            f"{path} has no folders of images, one per class: for images without classes use "
            f"folder:{path}"
        )
    check_classes(Path(path), classes, (), "image")
    if len(in_folders) < len(members):
        beside = {"image(s) beside the class folders": len(members) - len(in_folders)}
        listing.tell_left_out(Path(path), beside)
    return ArchiveRecords(in_folders, passed, classes)


def _shared_folders(names: Sequence[str]) -> tuple[str, ...]:
    """Return the folders that all of these paths begin with."""
    low, high = min(names).split("/")[:-1], max(names).split("/")[:-1]
    shared = []
    for one, other in zip(low, high, strict=False):
        if one != other:
            break
        shared.append(one)
    return tuple(shared)


def list_images(path: Path) -> tuple[list[Member], int]:
    """Return the image files of an archive, and the number of skipped entries.

    Skips hidden members, and prints once how many files of other kinds there are.
    """
    members, passed = list_members(path)
    seen = [m for m in members if not any(map(listing.is_hidden, m.name.split("/")))]
    images = [member for member in seen if member.name.lower().endswith(SUFFIXES)]
    chosen = {member.name for member in images}
    left_out = listing.count_kinds(m.name for m in seen if m.name not in chosen)
    if not images:
        endings = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise DataError(f"{path} holds no images ({endings}), {other_files(left_out)}")
    listing.tell_left_out(path, left_out)
    return images, passed


def list_members(path: Path) -> tuple[list[Member], int]:
    """Return all regular files of a tar or zip file, and the number of skipped entries.

    Raises DataError where it is missing, compressed as a whole, of another format or incomplete.
    """
    with listing.readable():
        if not path.is_file():
            raise DataError(f"{path} does not exist: name a tar or zip file")
        file = path.open("rb")
    with file:
        start = file.read(6)
        packer = next((name for magic, name in _COMPRESSED.items() if start.startswith(magic)), "")
        if packer:
            raise DataError(
                f"{path} is compressed with {packer}, so its images cannot be read one by one: "
                "decompress it to a plain tar file first, for example with gunzip"
            )
        if start.startswith(_ZIP_STARTS):
            return _list_zip_members(path)
        return list_tar_members(file, path, 0, path.stat().st_size)


def list_tar_members(file: BinaryIO, path: Path, start: int, end: int) -> tuple[list[Member], int]:
    """Return the files of the tar in bytes start to end of a file, and how many were skipped.

    Stricter than the standard library, which takes a damaged header for the end. Raises DataError
    where a header is damaged or the end mark is missing: the file is then incomplete.
    """
    members: list[Member] = []
    passed = 0
    for info, offset in _tar_entries(file, path, start, end):
        if info.type in _LINKS:
            passed += 1
        elif info.type in _REGULAR:
            name = safe_name(info.name)
            passed += not name
            members += [Member(name, str(path), offset, info.size)] if name else []
    return _last_of_each_name(members, passed)


def _tar_entries(
    file: BinaryIO, path: Path, start: int, end: int
) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Yield (header, offset of the content) of each entry, with the long names that precede it."""
    position = start
    extended: dict[str, str] = {}
    while True:
        file.seek(position)
        block = file.read(BLOCK) if position + BLOCK <= end else b""
        if block and not any(block):
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            extends = info.type in _EXTENSIONS
            info.size = _non_negative(info.size if extends else extended.get("size", info.size))
            if extends:
                extended |= _long_fields(info.type, file.read(min(info.size, LONGEST)))
            else:
                info.name, extended = extended.get("path", info.name), {}
        except (tarfile.HeaderError, ValueError) as error:
            fault = f"a damaged entry at byte {position}" if block else "no end mark"
            raise DataError(
                f"{path} has {fault}: it is not a plain tar file, or incomplete; compare its size "
                "and checksum with the original"
            ) from error
        content = position + BLOCK
        position = content + -(-info.size // BLOCK) * BLOCK
        if position > end:
            raise DataError(f"{path} ends within {info.name}: it is incomplete, download it again")
        if not extends:
            yield info, content


def _non_negative(size: int | str) -> int:
    """Return the size that a header states. Raises ValueError where it is below 0."""
    if int(size) < 0:
        raise ValueError("a negative size")
    return int(size)


def _long_fields(kind: bytes, body: bytes) -> dict[str, str]:
    """Return 'path' and 'size' of an extension header. Raises ValueError where it is damaged.

    GNU tar writes only the name, POSIX tar lines 'length key=value' for the next entry.
    """
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": body.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    fields = {}
    while kind == tarfile.XHDTYPE and body.strip(b"\0"):
        length = int(body.partition(b" ")[0])
        if length <= 0:
            raise ValueError("an extension header without a length")
        key, _, value = body[:length].partition(b" ")[2].rstrip(b"\n").partition(b"=")
        if key in (b"path", b"size"):
            fields[key.decode()] = value.decode("utf-8", "surrogateescape")
        body = body[length:]
    return fields


def safe_name(name: str) -> str:
    """Return a name inside an archive without './', '' where it is absolute, empty or has '..'."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0].startswith("/") or ".." in parts or parts[0].endswith(":"):
        return ""
    return "/".join(parts)


def _list_zip_members(path: Path) -> tuple[list[Member], int]:
    """Return the files of a zip file, and the number of skipped entries."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except _BAD_ZIP as error:
        raise DataError(f"{path} is damaged or incomplete ({error}): download it again") from error
    members, passed = [], 0
    for entry in entries:
        name = "" if stat.S_ISLNK(entry.external_attr >> 16) else safe_name(entry.filename)
        if not name:
            passed += 1
            continue
        if entry.flag_bits & 1:
            raise DataError(f"{path} is encrypted: unpack it with its password first")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(
                f"{path} compresses {name} with an unsupported method: create it again with zip"
            )
        stored = entry.compress_type == zipfile.ZIP_STORED
        packed = STORED_IN_ZIP if stored else entry.compress_size
        members.append(Member(name, str(path), entry.header_offset, entry.file_size, packed))
    return _last_of_each_name(members, passed)


def _last_of_each_name(members: Sequence[Member], passed: int) -> tuple[list[Member], int]:
    """Return the members that no later one replaces, and the number of skipped entries."""
    last = {member.name: member for member in members}
    return list(last.values()), passed + len(members) - len(last)


def read_member(member: Member) -> bytes:
    """Return the bytes of a member. Raises BadImage where they are too many, missing or damaged."""
    if member.size > MAX_BYTES:
        raise BadImage(f"{member.size:,} bytes are more than the limit of {MAX_BYTES:,}")
    try:
        with open(member.archive, "rb", buffering=0) as file:
            file.seek(member.offset)
            if member.packed == STORED_IN_TAR:
                return _read_exactly(file, member.size)
            return _read_from_zip(file, member)
    except (OSError, zlib.error, struct.error) as error:
        raise BadImage(f"cannot be read from its archive: {error}") from error


def _read_exactly(file: BinaryIO, size: int) -> bytes:
    """Read exactly `size` bytes. Raises BadImage where the file ends before."""
    data = file.read(size)
    if len(data) != size:
        raise BadImage(f"the archive ends {size - len(data)} bytes too early")
    return data


def _read_from_zip(file: BinaryIO, member: Member) -> bytes:
    """Return the uncompressed bytes of the zip member whose local header comes next in the file."""
    header = _read_exactly(file, 30)
    name, extra = struct.unpack("<HH", header[26:30])
    if header[:4] != _ZIP_STARTS[0]:
        raise BadImage("its entry in the zip file is damaged")
    file.seek(name + extra, 1)
    if member.packed == STORED_IN_ZIP:
        return _read_exactly(file, member.size)
    packed = _read_exactly(file, min(member.packed, MAX_BYTES))
    data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.size + 1)
    if len(data) != member.size:
        raise BadImage("its size differs from what the zip file's directory says")
    return data
