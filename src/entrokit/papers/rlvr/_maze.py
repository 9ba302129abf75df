"""The maze as a bench: episodes of up to twelve turns, one reward at the end, on the pocket policy."""

from __future__ import annotations

from entrokit.bench import PocketBench

from ..evidence import Budget

# Entropies are compared where half of the episodes succeed.
_LEVEL, _STEPS = 0.5, 240


def maze(budget: Budget) -> PocketBench:
    """Moves alone."""
    return budget.pocket("maze", level=_LEVEL, steps=_STEPS)


def tool_maze(budget: Budget) -> PocketBench:
    """With a map that can be asked."""
    return budget.pocket("maze:tool", level=_LEVEL, steps=_STEPS)
