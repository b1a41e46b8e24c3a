"""Build the embedded photographs anew from the original data set.

example:
  python -m tools.build_grocery --source GroceryStoreDataset --out maskmim/data/grocery

--source is a checkout of the repository marcusklasson/GroceryStoreDataset (MIT licence), commit
fc80ba90f803d79d0383df52c5a4ac5de99ff6fc. Each photograph is turned upright, reduced with an
antialiasing filter to 96 pixels on the short side and stored as WebP, at the highest quality that
keeps the folder within 16,000,000 bytes. The official lists of training, validation and test
photographs and both levels of classes are kept.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from maskmim.data.decode import decode
from maskmim.data.records import DataError
from maskmim.data.shard_format import INDEX, Index, write_index, write_shard, write_text

SPLITS = ("train", "val", "test")
LIMIT = 16_000_000
SHORT_SIDE = 96
QUALITIES = range(90, 40, -2)
ATTRIBUTION = """The photographs in this folder are the Grocery Store Dataset by Marcus Klasson,
Cheng Zhang and Hedvig Kjellström: https://github.com/marcusklasson/GroceryStoreDataset, commit
fc80ba90f803d79d0383df52c5a4ac5de99ff6fc, MIT licence (see LICENSE beside this file).

M. Klasson, C. Zhang, H. Kjellström: A Hierarchical Grocery Store Image Dataset with Visual and
Semantic Labels. IEEE Winter Conference on Applications of Computer Vision (WACV), 2019.
arXiv 1901.00711.

Changed from the original: every photograph was reduced to {side} pixels on the short side and
stored as WebP of quality {quality} by tools/build_grocery.py. Splits and classes are the
official ones.
"""


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--source", type=Path, required=True, help="checkout of the repository")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--quality", type=int, help="WebP quality; default: the highest that fits")
    options = parser.parse_args(argv)
    quality = build(options.source, options.out, options.quality)
    print(f"wrote {options.out}: {folder_bytes(options.out):,} bytes at WebP quality {quality}")


def build(source: Path, out: Path, quality: int | None = None) -> int:
    """Write the folder; return the WebP quality. Raises DataError where no quality fits."""
    lists = {split: read_list(source, split) for split in SPLITS}
    labels = read_classes(source)
    small = {
        path: reduce_photograph((source / "dataset" / path).read_bytes())
        for path, _, _ in tqdm([row for rows in lists.values() for row in rows], desc="reduce")
    }
    if quality is None:
        quality = fitting_quality(list(small.values()))
    out.mkdir(parents=True, exist_ok=True)
    shards = []
    for split, rows in lists.items():
        examples = (
            (path, {"fine": fine, "coarse": coarse}, encode_webp(small[path], quality))
            for path, fine, coarse in tqdm(rows, desc=split)
        )
        shards.append(write_shard(out / f"{split}.array_record", examples, tag=split))
    write_index(out, Index(labels, tuple(shards)))
    shutil.copyfile(source / "LICENSE", out / "LICENSE")
    write_text(out / "ATTRIBUTION", ATTRIBUTION.format(side=SHORT_SIDE, quality=quality))
    if folder_bytes(out) > LIMIT:
        raise DataError(
            f"{out} holds {folder_bytes(out):,} bytes, more than {LIMIT:,}: lower --quality"
        )
    return quality


def read_list(source: Path, split: str) -> list[tuple[str, int, int]]:
    """Return (path, fine class, coarse class) of a split's photographs, in the official order."""
    text = (source / "dataset" / f"{split}.txt").read_text(encoding="utf-8")
    return [
        (path.strip(), int(fine), int(coarse))
        for path, fine, coarse in (line.split(",") for line in text.splitlines() if line.strip())
    ]


def read_classes(source: Path) -> dict[str, tuple[str, ...]]:
    """Return the names of the 81 fine and the 43 coarse classes, by index."""
    with (source / "dataset" / "classes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    by_index = {
        "fine": {int(row["Class ID (int)"]): row["Class Name (str)"] for row in rows},
        "coarse": {
            int(row["Coarse Class ID (int)"]): row["Coarse Class Name (str)"] for row in rows
        },
    }
    return {level: tuple(names[i] for i in range(len(names))) for level, names in by_index.items()}


def reduce_photograph(encoded: bytes) -> Image.Image:
    """Return the photograph, reduced to 96 pixels on its short side."""
    image = Image.fromarray(decode(encoded, channels=3))
    factor = SHORT_SIDE / min(image.size)
    size = tuple(max(SHORT_SIDE, round(side * factor)) for side in image.size)
    return image.resize(size, Image.Resampling.LANCZOS)


def encode_webp(image: Image.Image, quality: int) -> bytes:
    """Return the image as a WebP file, with the slowest and best encoder setting."""
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=quality, method=6)
    return stream.getvalue()


def fitting_quality(images: list[Image.Image]) -> int:
    """Return the highest quality whose size, estimated from every 16th image, leaves 3 % spare."""
    sample = images[::16]
    for quality in QUALITIES:
        mean = sum(len(encode_webp(image, quality)) for image in sample) / len(sample)
        if (mean + 200) * len(images) < 0.97 * LIMIT:
            return quality
    raise DataError(f"no quality in {QUALITIES} brings the photographs below {LIMIT:,} bytes")


def folder_bytes(folder: Path) -> int:
    """Return the size of the files that `build` writes."""
    return sum(file.stat().st_size for file in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    yield from (folder / name for name in (INDEX, "LICENSE", "ATTRIBUTION"))
    yield from (folder / f"{split}.array_record" for split in SPLITS)


if __name__ == "__main__":
    main()
