"""Floor 7: pages out of runs. Knows no training."""

from .page import write_page
from .summary import Matched, Spread, Summary, summarise

__all__ = ["Matched", "Spread", "Summary", "summarise", "write_page"]
