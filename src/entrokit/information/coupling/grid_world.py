"""A grid world and its maximum-entropy policy: the game in which Markov coding hides messages."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .._arrays import Floats

Cell = tuple[int, int]
MOVES: tuple[Cell, ...] = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""Up, right, down, left, as (rows, columns)."""


@dataclass(frozen=True)
class GridWorld:
    """A walker goes where it means to with probability 0.8, and to either side of that with 0.1.

    Attributes:
        size: of the square. start, goal, trap: cells (row, column); goal and trap end an episode, worth 1 and -1.
        obstacles: cells that cannot be entered; whoever would, or would leave the grid, stays.
        slip: probability of each side.
    """

    size: int = 8
    start: Cell = (5, 4)
    goal: Cell = (0, 7)
    trap: Cell = (1, 7)
    obstacles: frozenset[Cell] = field(default_factory=lambda: frozenset((i, i) for i in range(1, 8)))
    slip: float = 0.1

    def __post_init__(self) -> None:
        for name in ("start", "goal", "trap"):
            cell = getattr(self, name)
            if not all(0 <= x < self.size for x in cell) or cell in self.obstacles:
                raise ValueError(f"GridWorld.{name}: {cell} is no free cell of a {self.size} x {self.size} grid")
        if not 0.0 <= self.slip <= 0.5:
            raise ValueError(f"GridWorld.slip: must lie in [0, 0.5], got {self.slip}")

    def index(self, cell: Cell) -> int:
        """The number of a cell, row by row."""
        return cell[0] * self.size + cell[1]

    @property
    def rewards(self) -> Floats:
        """Of every cell, ``[S]``."""
        r = np.zeros(self.size**2)
        r[self.index(self.goal)], r[self.index(self.trap)] = 1.0, -1.0
        return r

    @property
    def terminal(self) -> NDArray[np.bool_]:
        """Cells that end an episode, ``[S]``."""
        return np.asarray(self.rewards != 0)

    def transitions(self) -> Floats:
        """Probability of the next cell, ``[S, 4, S]``."""
        T = np.zeros((self.size**2, len(MOVES), self.size**2))
        for row in range(self.size):
            for column in range(self.size):
                cell = (row, column)
                for a in range(len(MOVES)):
                    for turn, share in ((0, 1.0 - 2.0 * self.slip), (1, self.slip), (-1, self.slip)):
                        there = self._after(cell, MOVES[(a + turn) % len(MOVES)])
                        T[self.index(cell), a, self.index(there)] += share
        return T

    def _after(self, cell: Cell, move: Cell) -> Cell:
        there = cell[0] + move[0], cell[1] + move[1]
        inside = all(0 <= x < self.size for x in there)
        return there if inside and there not in self.obstacles else cell


def soft_q(world: GridWorld, beta: float, gamma: float = 0.95, tol: float = 1e-11) -> Floats:
    """Soft Q-iteration: values ``[S, 4]`` of a policy that is paid β nats for its entropy, to ``tol max|Q|``.

    ``Q(s, a) = r(s) + γ Σ T(s'|s, a) β ln Σ_a' exp(Q(s', a') / β)``, and r(s) where an episode ends
    (the value of such a state is then r(s) + β ln 4, as in the paper's code; that code stops after 100 sweeps, which is
    0.7 % short at β = e^-3).

    Raises:
        ValueError: beta not above 0, gamma outside [0, 1), or a tol that rounding does not allow (below
            4e-16 / (1 - γ)).
    """
    if not beta > 0 or not 0.0 <= gamma < 1.0:
        raise ValueError(f"soft_q: needs beta > 0 and gamma in [0, 1), got {beta} and {gamma}")
    # Two roundings a sweep are added up over 1 / (1 - gamma) sweeps.
    least = 2.0 * float(np.finfo(np.float64).eps) / (1.0 - gamma)
    if not tol >= least:
        raise ValueError(f"soft_q: tol={tol:g} is beyond rounding; at gamma={gamma} it must be at least {least:.2g}")
    T, r, terminal = world.transitions(), world.rewards, world.terminal
    Q = np.where(terminal[:, None], r[:, None], np.zeros(T.shape[:2]))
    first, sweeps = 0.0, 0
    while True:
        V = beta * np.logaddexp.reduce(Q / beta, axis=1)
        following = np.where(terminal[:, None], r[:, None], r[:, None] + gamma * T @ V)
        change, Q = float(np.abs(following - Q).max()), following
        first, sweeps = first if sweeps else change, sweeps + 1
        # A sweep is a contraction by gamma: the remaining error is the last change times gamma / (1 - gamma), at most.
        allowed = tol * float(np.abs(Q).max()) * (1.0 - gamma)
        if change * gamma <= allowed:
            return Q
        # For the same reason this change would be small enough, had rounding not at least doubled it.
        if gamma ** (sweeps - 1) * first * gamma <= 0.5 * allowed:
            raise ValueError(f"soft_q: no convergence to tol={tol:g} in {sweeps} sweeps, beyond the values' rounding")


def soft_policy(Q: Floats, beta: float) -> Floats:
    """``softmax(Q / β)``, ``[S, 4]``."""
    return np.asarray(np.exp(Q / beta - np.logaddexp.reduce(Q / beta, axis=1, keepdims=True)))
