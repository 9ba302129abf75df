"""Makes the README's picture of the gallery: python scripts/gallery_picture.py"""

from __future__ import annotations

import tempfile
from pathlib import Path

from pictures import find_browser, shoot_page

from entrokit.gallery import cards, gathered, write_gallery
from entrokit.papers.results import MEASURED

OUT = Path(__file__).parents[1] / "docs" / "img" / "gallery.png"


def main() -> None:
    """What a reader finds whose entropy collapses."""
    with tempfile.TemporaryDirectory() as folder:
        page = write_gallery(cards(*gathered(MEASURED)), folder)
        shoot_page(f"{page.as_uri()}?q=entropy+collapses", OUT, find_browser(), Path(folder), 1100, 1000)
    print(OUT)


if __name__ == "__main__":
    main()
