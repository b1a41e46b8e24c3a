"""Image files of more than 8 bits and of many bands, for tests."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import tifffile


def tiff(values: np.ndarray, **options) -> bytes:
    """Return the bytes of a TIFF file that tifffile writes."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)
    return stream.getvalue()


def numbers(dtype: str, shape: tuple[int, ...] = (9, 7), seed: int = 0) -> np.ndarray:
    """Return numbers over the whole range of an integer type, or in [-0.5, 1.5]."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.uniform(-0.5, 1.5, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def png16(values: np.ndarray, *, interlaced: bool = False) -> bytes:
    """Return a PNG of 16 bits, u16[H, W, 1 to 4], whose rows use the five filters in turn."""
    rows, columns, channels = values.shape
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2)]
        passes += [(0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [values[top::down, left::right] for top, left, down, right in passes]
    content = b"".join(_filtered(part) for part in parts if part.size)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", columns, rows, 16, colour, 0, 0, int(interlaced))
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(content)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _filtered(part: np.ndarray) -> bytes:
    raw = part.astype(">u2").tobytes()
    length, step = len(raw) // len(part), 2 * part.shape[-1]
    lines = np.frombuffer(raw, np.uint8).reshape(len(part), length).astype(int)
    above = np.vstack([np.zeros((1, length), int), lines[:-1]])
    left = np.hstack([np.zeros((len(part), step), int), lines[:, :-step]])
    corner = np.hstack([np.zeros((len(part), step), int), above[:, :-step]])
    guess = left + above - corner
    distance = [abs(guess - other) for other in (left, above, corner)]
    nearest = np.argmin(distance, axis=0)
    paeth = np.choose(nearest, [left, above, corner])
    predictions = [0 * lines, left, above, (left + above) // 2, paeth]
    return b"".join(
        bytes([row % 5]) + ((lines - predictions[row % 5])[row] % 256).astype(np.uint8).tobytes()
        for row in range(len(part))
    )
