"""Draw docs/gallery.md and docs/images/gallery/*.webp with `maskmim.mask_tools.gallery`.

python -m docs.make_gallery
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

from maskmim.mask_tools.discovery import samplers
from maskmim.mask_tools.gallery.page import GallerySettings, write_gallery

DOCS = Path(__file__).parent
IMAGES = DOCS / "images" / "gallery"
QUALITY = 78


def main() -> None:
    """Draw every sampler, save the sheets as WebP, and link the page to them."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for old in IMAGES.glob("*.webp"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        write_gallery(samplers(), Path(folder), GallerySettings(None, 0.75, 0))
        page = (Path(folder) / "gallery.md").read_text(encoding="utf-8")
        for sheet in sorted(Path(folder).glob("*.png")):
            with Image.open(sheet) as picture:
                picture.convert("RGB").save(IMAGES / f"{sheet.stem}.webp", quality=QUALITY)
            page = page.replace(f"({sheet.name})", f"(images/gallery/{sheet.stem}.webp)")
    (DOCS / "gallery.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
