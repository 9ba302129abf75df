"""Order parameters at a saddle point of the potential, and the damped iteration that finds and checks them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

DAMPING = 0.9
TOLERANCE = 1e-7
MAX_ITERATIONS, PATIENCE = 1000, 20
# How much finer the grid is on which a solution has to hold once more, and how often a grid is refined for that.
FINER = 1.5
REFINEMENTS = 3


class Overlaps(NamedTuple):
    """q (between replicas), r (with the teacher) and Q (with itself)."""

    q: float
    r: float
    Q: float

    def distance(self, other: Overlaps) -> float:
        """Summed change."""
        return sum(abs(a - b) for a, b in zip(self, other, strict=True))


class Conjugates(NamedTuple):
    """The hats: what the data asks of a single weight."""

    q: float
    r: float
    Q: float


class Image(NamedTuple):
    """What the saddle-point equations make of overlaps.

    The overlaps that follow, the conjugates between, the free entropy a weight at both, and the mean signs along
    teacher 1 and, in the second task, teacher 2.
    """

    overlaps: Overlaps
    conjugates: Conjugates
    phi: float
    sign1: float
    sign2: float | None


@dataclass(frozen=True)
class OrderParams:
    """A saddle point.

    Attributes:
        alpha: patterns a weight, of the task that is learnt. beta: inverse temperature.
        q, r, Q: overlaps between replicas, with the teacher of the task, with itself; r² <= q <= Q < 1.
        q_hat, r_hat, Q_hat: their conjugates.
        phi: the free entropy a weight, nats. The second task's counts the KL with its normalisation.
        e1, e2: test errors on the first and the second task, 0 to 1; e2 is None before the second.
        residual: summed change of q, r, Q under their own equations, on a grid `FINER` times as fine as the one that
            they were found on.
        iterations: that were taken. nodes: of that grid.
    """

    alpha: float
    beta: float
    q: float
    r: float
    Q: float
    q_hat: float
    r_hat: float
    Q_hat: float
    phi: float
    e1: float
    e2: float | None
    residual: float
    iterations: int
    nodes: int


class SaddlePointError(ArithmeticError):
    """What was found or given solves no saddle-point equations; ``residual`` is by how much it misses."""

    def __init__(self, message: str, residual: float) -> None:
        super().__init__(message)
        self.residual = residual

    def __reduce__(self) -> tuple[type[SaddlePointError], tuple[str, float]]:
        # Out of another process an error comes by pickle, which would call it with the message alone.
        return type(self), (str(self), self.residual)


Equations = Callable[[Overlaps, int], Image]


def solve_saddle(
    equations: Equations, starts: Sequence[Overlaps], *, alpha: float, beta: float, nodes: int, what: str
) -> OrderParams:
    """The solution of largest free entropy among those that the starts lead to.

    Raises:
        SaddlePointError: no start leads to a solution; that of the one that missed by least.
    """
    found: list[OrderParams] = []
    missed: list[SaddlePointError] = []
    for start in starts:
        try:
            found.append(_refined(equations, start, alpha, beta, nodes, what))
        except SaddlePointError as error:
            missed.append(error)
    if not found:
        raise min(missed, key=lambda error: error.residual)
    return max(found, key=lambda solution: solution.phi)


def _refined(equations: Equations, start: Overlaps, alpha: float, beta: float, nodes: int, what: str) -> OrderParams:
    overlaps, iterations, residual = start, 0, math.inf
    for _ in range(REFINEMENTS):
        overlaps, more = iterate(equations, overlaps, nodes, what)
        iterations += more
        finer = math.ceil(FINER * nodes)
        image = equations(overlaps, finer)
        residual = image.overlaps.distance(overlaps)
        if residual < 10.0 * TOLERANCE:
            return _solution(overlaps, image, alpha, beta, residual, iterations, nodes)
        nodes = finer
    raise SaddlePointError(
        f"{what}: solved on a grid of {round(nodes / FINER)} nodes, q, r and Q miss their equations by {residual:.1e} "
        f"on one of {nodes} (allowed {10.0 * TOLERANCE:.0e}); give more nodes",
        residual,
    )


def iterate(equations: Equations, start: Overlaps, nodes: int, what: str) -> tuple[Overlaps, int]:
    """A fixed point, and the iterations to it. Where changes stop shrinking, less of what is new is taken.

    Raises:
        SaddlePointError: none within `MAX_ITERATIONS`, or one outside of r² <= q <= Q < 1.
    """
    overlaps, share, least, least_at = start, DAMPING, math.inf, 0
    for iteration in range(1, MAX_ITERATIONS + 1):
        image = equations(overlaps, nodes).overlaps
        change = image.distance(overlaps)
        if not math.isfinite(change):
            raise SaddlePointError(f"{what}: iteration {iteration} gives q, r, Q = {tuple(image)}", math.inf)
        if change < TOLERANCE:
            check_range(image, what)
            return image, iteration
        if change < least:
            least, least_at = change, iteration
        elif iteration - least_at >= PATIENCE:
            share, least_at = 0.5 * share, iteration
        overlaps = Overlaps(*((1.0 - share) * a + share * b for a, b in zip(overlaps, image, strict=True)))
    raise SaddlePointError(
        f"{what}: after {MAX_ITERATIONS} iterations q, r and Q still change by {least:.1e} at least (allowed "
        f"{TOLERANCE:.0e})",
        least,
    )


def check_range(overlaps: Overlaps, what: str) -> None:
    """Raises SaddlePointError, saying by how much, where r² <= q <= Q < 1 does not hold."""
    q, r, Q = overlaps
    over = max(r * r - q, q - Q, Q - 1.0)
    if over > TOLERANCE or not Q < 1.0:
        raise SaddlePointError(f"{what}: q={q:.6g}, r={r:.6g}, Q={Q:.6g} miss r² <= q <= Q < 1 by {over:.1e}", over)


def _solution(
    overlaps: Overlaps, image: Image, alpha: float, beta: float, residual: float, iterations: int, nodes: int
) -> OrderParams:
    return OrderParams(
        alpha,
        beta,
        *overlaps,
        *image.conjugates,
        phi=image.phi,
        e1=_error(image.sign1),
        e2=None if image.sign2 is None else _error(image.sign2),
        residual=residual,
        iterations=iterations,
        nodes=nodes,
    )


def _error(overlap: float) -> float:
    return math.acos(min(max(overlap, -1.0), 1.0)) / math.pi
