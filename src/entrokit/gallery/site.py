"""The gallery as a page of its own: a folder that opens offline, and that any server of files can show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from entrokit.runs.whole import replace_file

from .cards import Card
from .html import SCRIPT, STYLE, gallery
from .pictures import write_pictures

PAGE = "index.html"

# Before anything is drawn, so that a dark page does not flash.
_THEME = (
    "let kept;try{kept=localStorage.getItem('entrokit-theme')}catch{}"
    "document.documentElement.dataset.theme=['dark','light'].includes(kept)?kept:"
    "matchMedia('(prefers-color-scheme: dark)').matches?'dark':'light'"
)


def write_gallery(cards: Sequence[Card], folder: str | Path) -> Path:
    """Writes ``index.html`` and ``img/``; returns the page's path.

    Raises:
        OSError: the folder cannot be written into.
    """
    file = Path(folder) / PAGE
    page = render(cards, write_pictures(cards, folder))
    # A name of a folder need be no text.
    replace_file(file, lambda partial: partial.write_text(page, encoding="utf-8", errors="replace"))
    return file


def render(cards: Sequence[Card], pictures: dict[str, str]) -> str:
    """The page's HTML; ``pictures``: their URLs by slug."""
    return f"""<!doctype html>
<html lang="en" class="alone">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>entrokit: papers on entropy, running</title>
<link rel="icon" href="data:,">
<style>
{STYLE.read_text(encoding="utf-8")}</style>
<script>{{{_THEME}}}</script>
</head>
<body>
<header>
<h1>Papers on entropy, running</h1>
<button type="button" class="gallery-theme" aria-pressed="false" hidden>Dark</button>
<p>Each one a tested piece of <a href="https://github.com/entrokit/entrokit">entrokit</a>: what was claimed, what was
measured here, what failed, and the lines that run it.</p>
</header>
<main>
{gallery(cards, pictures)}
</main>
<script>
{SCRIPT.read_text(encoding="utf-8")}</script>
</body>
</html>
"""
