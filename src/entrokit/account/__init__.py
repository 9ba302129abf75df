"""Floor 5: where entropy went, token by token, through the parameters. Needs torch."""

from .next_step import Move, next_moves, supports
from .tokens import TokenShare, free_logit_change, quadrant, split

__all__ = ["Move", "TokenShare", "free_logit_change", "next_moves", "quadrant", "split", "supports"]
