"""Floor 8: pages and pictures out of results. Knows no training."""

from .beside import render_comparison, write_comparison
from .chart import Chart, Series, figure
from .diagnosis import render_diagnosis, write_diagnosis
from .document import document, embed, write_document
from .page import write_page
from .summary import Matched, Spread, Summary, in_brackets, summarise

__all__ = [
    "Chart",
    "Matched",
    "Series",
    "Spread",
    "Summary",
    "document",
    "embed",
    "figure",
    "in_brackets",
    "render_comparison",
    "render_diagnosis",
    "summarise",
    "write_comparison",
    "write_diagnosis",
    "write_document",
    "write_page",
]
