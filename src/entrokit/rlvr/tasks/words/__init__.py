"""Tasks for models that read language: short prompts in words, completions of at most 48 tokens, exact verifiers.

A small instruct model gets some of each right and far from all, which is what an RL run needs to start from. Every task
has families and a knob of difficulty; ``load_task("words:mention(count=2)")`` makes one by name.
"""

from collections.abc import Callable, Mapping

from ..task import Task
from .answers import arithmetic, ordering
from .sentences import length, mention, opening, without

WORDS: Mapping[str, Callable[..., Task]] = {
    "mention": mention,
    "length": length,
    "opening": opening,
    "without": without,
    "arithmetic": arithmetic,
    "ordering": ordering,
}

__all__ = ["WORDS", "arithmetic", "length", "mention", "opening", "ordering", "without"]
