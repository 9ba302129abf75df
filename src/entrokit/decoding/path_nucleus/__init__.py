"""Nucleus sampling over k paths at once: a path's own probability decides how much of the nucleus is its.

The "enhanced top-p sampling" of Analysis on Riemann Hypothesis with Cross Entropy Optimization and Reasoning
(arXiv 2409.19790), which gives no formula; the steps are ours.
"""

from .custom_generate import PathOutput
from .decoder import Path, PathTopP
from .nucleus import Drawn, draw_continuations, path_nucleus
from .state import Moved, PathState, effective_paths

__all__ = [
    "Drawn",
    "Moved",
    "Path",
    "PathOutput",
    "PathState",
    "PathTopP",
    "draw_continuations",
    "effective_paths",
    "path_nucleus",
]
