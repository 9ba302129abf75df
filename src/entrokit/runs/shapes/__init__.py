"""Shapes of text logs: what a file holds as rows of names and values, before anybody says what the names mean.

`rows_of` tells the shape of any text file and gives its rows; each shape is a module with a pure parser of its own, and
`parse_line` reads one line of any logger's console.
"""

from .lines import parse_line
from .sniff import Sniffed, rows_of, shape_of, sniffed
from .trackers import is_wandb_summary, tensorboard_tag

__all__ = ["Sniffed", "is_wandb_summary", "parse_line", "rows_of", "shape_of", "sniffed", "tensorboard_tag"]
