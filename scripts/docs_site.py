"""Hooks of the docs site: tables that pages leave a place for (`<!-- table: name -->`) are made as it is built."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import api
import pages

PLACE = re.compile(r"<!-- table: ([\w-]+) -->")
TABLES = {**pages.TABLES, "api-of-methods": api.of_methods}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fills the places of one page.

    Raises:
        KeyError: a page names a table that nobody makes.
    """
    return PLACE.sub(lambda place: TABLES[place[1]](), markdown)
