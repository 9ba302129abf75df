"""Hooks of the docs site: what pages leave a place for is made as it is built.

Lists stand at `<!-- table: name -->`, the gallery of papers at `<!-- gallery -->`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import api
import pages

from entrokit.gallery import cards, gathered
from entrokit.gallery.html import SCRIPT, STYLE, gallery
from entrokit.papers.results import MEASURED

GALLERY = "<!-- gallery -->"
PLACE = re.compile(r"<!-- table: ([\w-]+) -->")
LISTS = ("methods", "not-measured", "not-shown-tabular", "not-shown-pocket")
TABLES = {**{name: pages.TABLES[name] for name in LISTS}, "api-of-methods": api.of_methods}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fills the places of one page."""
    return PLACE.sub(lambda place: TABLES[place[1]]() if place[1] in TABLES else place[0], markdown)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Puts the gallery into the page that has a place for it, beside the site's own pages and pictures of papers."""
    return html.replace(GALLERY, shelf()) if GALLERY in html else html


def shelf() -> str:
    """The gallery with its style and script."""
    shown = cards(*gathered(MEASURED))
    pictures = {card.paper.slug: f"papers/img/{card.paper.slug}.svg" for card in shown if card.chart is not None}
    style, script = (file.read_text(encoding="utf-8") for file in (STYLE, SCRIPT))
    return f"<style>{style}</style>{gallery(shown, pictures, pages='papers/{slug}/')}<script>{script}</script>"
