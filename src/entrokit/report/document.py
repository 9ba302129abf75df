"""The frame of every page: one HTML file that opens offline, with plotly and the style inside."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from entrokit.extras import require
from entrokit.runs.whole import replace_file

if TYPE_CHECKING:
    import plotly.graph_objects as go

_PLOTLY = {"displayModeBar": False, "responsive": True}
# Plotly measures a chart as it is parsed, before the grid has its final columns.
_RESIZE = "addEventListener('load', () => document.querySelectorAll('.plotly-graph-div').forEach(Plotly.Plots.resize))"
_STYLE = Path(__file__).with_name("page.css")


def document(title: str, body: str) -> str:
    """A whole page. ``title`` is text, ``body`` is HTML.

    Raises:
        MissingExtraError: the extra `report` is not installed.
    """
    require("a page", "report")
    from plotly.offline import get_plotlyjs

    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>entrokit: {escape(title)}</title>
<style>{_STYLE.read_text(encoding="utf-8")}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
{body}
<script>{_RESIZE}</script>
</body>
</html>
"""


def embed(figure: go.Figure) -> str:
    """A plotly figure as HTML of a `document`'s body."""
    return f"<figure>{figure.to_html(full_html=False, include_plotlyjs=False, config=_PLOTLY)}</figure>"


def write_document(file: Path, html: str) -> Path:
    """Writes a page whole or not at all; returns its path."""
    replace_file(file, lambda partial: partial.write_text(html, encoding="utf-8"))
    return file
