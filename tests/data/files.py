"""Image files of many kinds, made by hand or with Pillow, for the tests of data sources."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

EXIF_ORIENTATION = 0x0112


def picture(seed: int = 0, shape: tuple[int, ...] = (20, 30, 3)) -> np.ndarray:
    """Return a smooth random picture, which lossy compression hardly changes."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (3, 4, *shape[2:]), dtype=np.uint8)
    layers = coarse[..., None] if coarse.ndim == 2 else coarse
    size = (shape[1], shape[0])
    resized = [
        np.asarray(Image.fromarray(layers[..., c]).resize(size, Image.Resampling.BILINEAR))
        for c in range(layers.shape[-1])
    ]
    return np.stack(resized, -1).reshape(shape)


def encoded(image: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    """Return the bytes of an image file in a Pillow format."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def exif(orientation: int) -> bytes:
    """Return an EXIF block with an orientation."""
    block = Image.Exif()
    block[EXIF_ORIENTATION] = orientation
    return block.tobytes()


@functools.cache
def png_header_bomb(side: int) -> bytes:
    """Return a valid PNG of side x side black pixels of 1 bit, compressed to some 100 kB."""
    count = side * (1 + (side + 7) // 8)
    whole, rest = divmod(count, 2**20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    pixels = zeros * whole + packer.compress(bytes(rest)) + packer.flush()
    checksum = (count % 65521) << 16 | 1  # Adler-32 of so many zeros
    pixels = b"\x78\xda" + pixels + struct.pack(">I", checksum)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@functools.cache
def odd_files() -> dict[str, bytes]:
    """Return readable files of unusual kinds, by name."""
    grey16 = (picture(4, (20, 30)).astype(np.uint16) * 257).astype("<u2")
    colour = Image.fromarray(picture(5))
    frames = [Image.fromarray(picture(seed)) for seed in (6, 7)]
    palette = colour.quantize(16)
    return {
        "cmyk.jpg": encoded(colour.convert("CMYK"), "JPEG", quality=95),
        "grey16.png": encoded(Image.fromarray(grey16), "PNG"),
        "grey16.tif": encoded(Image.fromarray(grey16), "TIFF"),
        "palette.png": encoded(palette, "PNG"),
        "palette_transparent.png": encoded(palette, "PNG", transparency=bytes(range(16))),
        "animated.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "animated.webp": encoded(
            frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True
        ),
        "rotated.jpg": encoded(colour, "JPEG", quality=95, exif=exif(6)),
        "grey_alpha.png": encoded(colour.convert("LA"), "PNG"),
        "one_bit.png": encoded(colour.convert("1"), "PNG"),
        "grey.jpg": encoded(colour.convert("L"), "JPEG", quality=95),
        "alpha.png": encoded(colour.convert("RGBA"), "PNG"),
        "plain.bmp": encoded(colour, "BMP"),
        "ycbcr.tif": encoded(colour.convert("YCbCr"), "TIFF"),
    }


@functools.cache
def bad_files() -> dict[str, bytes]:
    """Return unreadable files, by name; huge.png is a valid picture of 50,000 x 50,000 pixels."""
    jpeg = encoded(picture(8, (200, 300, 3)), "JPEG", quality=95)
    png = encoded(picture(9, (200, 300, 3)), "PNG")
    return {
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "damaged.png": png[:60] + bytes(400) + png[460:],
        "text.jpg": b"this is not an image\n" * 20,
        "empty.png": b"",
        "huge.png": png_header_bomb(50_000),
    }


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Write files below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
