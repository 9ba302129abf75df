"""Hooks of the docs site: lists that pages leave a place for (`<!-- table: name -->`) are made as it is built."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import api
import pages

PLACE = re.compile(r"<!-- table: ([\w-]+) -->")
LISTS = ("methods", "not-measured", "not-shown-tabular", "not-shown-pocket")
TABLES = {**{name: pages.TABLES[name] for name in LISTS}, "api-of-methods": api.of_methods}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fills the places of one page."""
    return PLACE.sub(lambda place: TABLES[place[1]]() if place[1] in TABLES else place[0], markdown)
