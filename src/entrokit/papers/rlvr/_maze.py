"""The maze as a bench: episodes of up to twelve turns, one reward at the end, on the pocket policy."""

from __future__ import annotations

from entrokit.bench import PocketBench

from ..paper import Budget

# Entropies are compared where half of the episodes succeed.
_LEVEL, _STEPS = 0.5, 240


def maze(budget: Budget, seed: int) -> PocketBench:
    """Moves alone."""
    return budget.pocket(seed, "maze", level=_LEVEL, steps=_STEPS)


def tool_maze(budget: Budget, seed: int) -> PocketBench:
    """With a map that can be asked."""
    return budget.pocket(seed, "maze:tool", level=_LEVEL, steps=_STEPS)
