"""Minimisation by the cross-entropy method: draw, keep the best, refit, repeat.

    elite = the best ⌈ρN⌉ of N draws,   v_t = α · (maximum likelihood of the elite) + (1 - α) · v_{t-1}

Equations are the textbook's (Rubinstein and Kroese, The Cross-Entropy Method, 2004).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from ..checks import check_count, check_generator, check_number, check_share, check_smoothing
from .protocol import EmptyEliteError, Sampler, check_function, check_sampler, evaluate

F = TypeVar("F", bound=Sampler)


class Sides(Protocol):
    """Lows and highs of all coordinates, as `scipy.optimize.Bounds` has them; one number stands for all."""

    lb: Any
    ub: Any


Bounds = Sequence[tuple[float | None, float | None]] | Tensor | Sides
"""(low, high) a coordinate; None or infinity where there is none."""


@dataclass(frozen=True, eq=False)
class Step:
    """One iteration: the best value so far, the elite's worst and size, the draws' largest standard deviation."""

    best: float
    elite_worst: float
    elite: int
    spread: float


@dataclass(frozen=True, eq=False)
class Minimum(Generic[F]):
    """What was found. ``x``, ``fun``, ``nfev``, ``nit`` and ``success`` are SciPy's names.

    Attributes:
        x: the best draw ``[*E]``. fun: its value. nfev: evaluations. nit: iterations.
        status: ``converged``: draws are closer together than ``tol``, wherever that is; ``stalled``: the best value
            stood still; ``max_iter``. success: whether it converged.
        sampler: after the last refit; given again, the search goes on where it stood. history: by iteration.
    """

    x: Tensor
    fun: float
    nfev: int
    nit: int
    status: Literal["converged", "stalled", "max_iter"]
    sampler: F
    history: tuple[Step, ...] = field(repr=False)

    @property
    def success(self) -> bool:
        return self.status == "converged"


def cross_entropy_minimize(
    fn: Callable[[Tensor], Any],
    sampler: F,
    *,
    generator: torch.Generator,
    n: int = 200,
    elite: float = 0.1,
    smoothing: float = 0.7,
    bounds: Bounds | None = None,
    tol: float = 1e-10,
    max_iter: int = 200,
    patience: int = 50,
) -> Minimum[F]:
    """The least value of ``fn`` that refitting ``sampler`` to its best draws finds: one optimum a run.

    Args:
        fn: takes draws ``[n, *E]`` and returns ``[n]``; +inf for what is not allowed.
        sampler: where to begin, of any family that is a `Sampler`. n: draws an iteration. elite: ρ.
        smoothing: α; 1 forgets the sampler before, and with few draws collapses early.
        bounds: (low, high) a coordinate, None for none, or a `scipy.optimize.Bounds`, for draws ``[n, d]``. Draws are
            moved to the nearest point inside, so that an optimum on the border or in a corner can be met exactly.
        tol: of the draws' standard deviation, in every coordinate. patience: iterations without a better value after
            which it has stalled.

    Raises:
        TypeError: no sampler, number, function or generator where one is due.
        ValueError: an argument out of range, ``fn`` NaN or of another shape, bounds that do not fit the draws, or that
            all of the first draws lie on one side of.
        EmptyEliteError: ``fn`` is +inf at every draw.
    """
    check_function("fn", fn)
    check_sampler("sampler", sampler)
    check_generator(generator)
    check_count("n", n, 2)
    check_count("max_iter", max_iter)
    check_count("patience", patience)
    check_share("elite", elite)
    check_smoothing(smoothing)
    if check_number("tol", tol) < 0.0:
        raise ValueError(f"tol must be at least 0, got {tol!r}")
    kept = math.ceil(elite * n - 1e-9)
    history: list[Step] = []
    best: Tensor | None = None
    least, waited = math.inf, 0
    status: Literal["converged", "stalled", "max_iter"] = "max_iter"
    limits: Tensor | None = None
    while len(history) < max_iter:
        x = sampler.sample(n, generator)
        if bounds is not None:
            limits = _limits(x, bounds) if limits is None else limits
            x = x.clamp(limits[:, 0], limits[:, 1])
        values = evaluate("fn", fn, x)
        order = values.argsort(stable=True)[:kept]
        order = order[values[order] < torch.inf]
        if not len(order):
            raise EmptyEliteError(
                f"iteration {len(history) + 1}: fn is +inf at all {n} draws; begin where some are allowed, or draw more"
            )
        waited += 1
        if float(values[order[0]]) < least:
            best, least, waited = x[order[0]].clone(), float(values[order[0]]), 0
        chosen = x[order]
        sampler = sampler.fit(chosen, torch.zeros(len(chosen), dtype=torch.float64, device=x.device), smoothing)
        spread = float(x.double().std(0, correction=0).max())
        history.append(Step(least, float(values[order[-1]]), len(order), spread))
        if spread < tol:
            status = "converged"
            break
        if waited >= patience:
            status = "stalled"
            break
    assert best is not None  # the first iteration has a value below +inf, or has raised
    return Minimum(best, least, n * len(history), len(history), status, sampler, tuple(history))


def _limits(x: Tensor, bounds: Bounds) -> Tensor:
    """Bounds of the first draws ``x`` ``[n, d]``: ``[d, 2]``."""
    limits = torch.as_tensor(_pairs(bounds, x), dtype=x.dtype, device=x.device)
    if x.ndim != 2 or limits.shape != (x.shape[1], 2):
        raise ValueError(
            f"bounds are one pair (low, high) a coordinate of draws [n, d]; got {list(limits.shape)} for draws "
            f"{list(x.shape)}"
        )
    low, high = limits.T
    if not bool((low < high).all()):
        raise ValueError(f"bounds: every low must be below its high, got {limits.tolist()}")
    # Moved to the border they would be one point, and the search over.
    for beyond, side, limit in ((x < low).all(0), "below", low), ((x > high).all(0), "above", high):
        if bool(beyond.any()):
            at = int(beyond.nonzero()[0, 0])
            raise ValueError(
                f"bounds: all {len(x)} first draws are {side} {float(limit[at]):g} in coordinate {at}; begin inside"
            )
    return limits


def _pairs(bounds: Bounds, x: Tensor) -> Tensor | list[tuple[float, float]]:
    if isinstance(bounds, Tensor):
        return bounds
    if not (hasattr(bounds, "lb") and hasattr(bounds, "ub")):
        return [_pair(of) for of in bounds]
    sides = [torch.as_tensor(side, dtype=x.dtype, device=x.device) for side in (bounds.lb, bounds.ub)]
    for side, name in zip(sides, ("lb", "ub"), strict=True):
        if side.numel() != 1 and side.shape != x.shape[1:]:
            raise ValueError(
                f"bounds.{name} is one number, or one a coordinate of draws {list(x.shape)}; got {list(side.shape)}"
            )
    return torch.stack([side.reshape(-1).expand(x.shape[1:]) for side in sides], -1)


def _pair(of: Any) -> tuple[float, float]:
    try:
        low, high = of
    except (TypeError, ValueError):
        raise ValueError(f"bounds are one pair (low, high) a coordinate of draws [n, d]; got {of!r} for one") from None
    return -math.inf if low is None else float(low), math.inf if high is None else float(high)
