"""Floor 8: the catalogue. One small file per paper: what it claims, where it lives, and its claims in miniature."""

from .page import verdict_table, write_page
from .paper import BENCHES, Budget, Evidence, Finding, Paper
from .registry import CATALOGUE, paper, search

__all__ = [
    "BENCHES",
    "CATALOGUE",
    "Budget",
    "Evidence",
    "Finding",
    "Paper",
    "paper",
    "search",
    "verdict_table",
    "write_page",
]
