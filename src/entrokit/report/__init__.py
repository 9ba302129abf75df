"""Floor 7: pages and pictures out of results. Knows no training."""

from .chart import Chart, Series, figure
from .document import document, embed, write_document
from .page import write_page
from .summary import Matched, Spread, Summary, summarise

__all__ = [
    "Chart",
    "Matched",
    "Series",
    "Spread",
    "Summary",
    "document",
    "embed",
    "figure",
    "summarise",
    "write_document",
    "write_page",
]
