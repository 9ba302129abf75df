"""Floor 9: the catalogue. An entry a paper, in its shelf: what it claims, where it lives, its claims in miniature."""

from .entry import Experiment, Paper, Shown
from .evidence import Budget, Finding
from .registry import CATALOGUE, paper, search
from .result import PaperResults, Result, ResultError
from .run import run

__all__ = [
    "CATALOGUE",
    "Budget",
    "Experiment",
    "Finding",
    "Paper",
    "PaperResults",
    "Result",
    "ResultError",
    "Shown",
    "paper",
    "run",
    "search",
]
