"""The gallery's pictures: one SVG file a paper, which a browser fetches when its card comes into view."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from entrokit.report.svg import svg
from entrokit.runs.whole import replace_file

from .cards import Card

FOLDER = "img"


def write_pictures(cards: Iterable[Card], folder: str | Path) -> dict[str, str]:
    """Writes ``img/<slug>.svg`` into a folder for every card that has a chart; returns its relative path, by slug.

    Raises:
        OSError: the folder cannot be written into.
    """
    where = Path(folder) / FOLDER
    where.mkdir(parents=True, exist_ok=True)
    written = {}
    for card in cards:
        if card.chart is not None:
            name = f"{card.paper.slug}.svg"
            replace_file(where / name, partial(Path.write_text, data=svg(card.chart), encoding="utf-8"))
            written[card.paper.slug] = f"{FOLDER}/{name}"
    return written
