"""Which features to use: the most evidence of default for a bounded evidence of a protected attribute.

Mixed-integer programmes after arXiv 2509.09855 (its form is reconstructed here): with z_f in {0, 1},

    max Σ z_f IV_f(Y)    such that    Σ z_f (IV_f(A) + z SE_f(A)) <= τ    for every protected attribute A

Information values of correlated features do not add up: the objective over-counts, and bounding each feature's does
not bound that of the score. `FairScorecard` reports the score's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import Floats

Z95 = 1.6448536269514722
"""Quantile of the one-sided 95 % bound."""


@dataclass(frozen=True)
class FrontPoint:
    """A set of features.

    Attributes:
        tau: bounds, ``[A]``. chosen: ``[F]`` bool. iv: its sum of the target. protected: the bounded sums, ``[A]``.
    """

    tau: Floats
    chosen: NDArray[np.bool_]
    iv: float
    protected: Floats


def select_features(
    iv: ArrayLike,
    iv_protected: ArrayLike,
    tau: float | Sequence[float],
    *,
    se_protected: ArrayLike | None = None,
    z: float = Z95,
    max_features: int | None = None,
    mandatory: Sequence[int] = (),
) -> FrontPoint:
    """The set of largest Σ IV(Y) within the bounds, by HiGHS.

    Args:
        iv: ``[F]`` of the target. iv_protected: ``[F]``, or ``[A, F]`` of several attributes, which need a bound each.
        tau: bounds. se_protected: shaped as iv_protected; where given, each feature counts by its upper bound
            ``IV + z SE``. max_features: K. mandatory: features that are always in.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or bounds that the mandatory features break.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    values, cost, bound = _inputs(iv, iv_protected, tau, se_protected, z)
    least = np.zeros(len(values))
    least[list(mandatory)] = 1.0
    limit = len(values) if max_features is None else max_features
    broken = np.nonzero(cost @ least > bound + 1e-9)[0]
    if len(broken) or least.sum() > limit:
        raise ValueError(
            f"select_features: the mandatory features {list(mandatory)} alone have {cost @ least} of the protected "
            f"attributes, above tau={bound}, or are more than max_features={limit}"
        )
    solved = milp(
        -values,
        integrality=np.ones(len(values)),
        bounds=Bounds(least, 1.0),
        constraints=LinearConstraint(np.vstack([cost, np.ones(len(values))]), ub=np.append(bound, limit)),
    )
    if solved.x is None:
        raise RuntimeError(f"select_features: HiGHS found no set: {solved.message}")
    chosen = solved.x > 0.5
    return FrontPoint(bound, chosen, float(values[chosen].sum()), cost[:, chosen].sum(1))


def pareto_front(
    iv: ArrayLike,
    iv_protected: ArrayLike,
    *,
    taus: ArrayLike | None = None,
    se_protected: ArrayLike | None = None,
    z: float = Z95,
    max_features: int | None = None,
    mandatory: Sequence[int] = (),
) -> list[FrontPoint]:
    """`select_features` at rising bounds, each set once.

    Args:
        taus: ``[T]``, the bounds, of one protected attribute. By default 20 from the least feature's value to the sum
            of all; those of several attributes rise together.

    Raises:
        ValueError: see `select_features`; taus where there are several attributes.
    """
    values, cost, _ = _inputs(iv, iv_protected, np.zeros(len(np.atleast_2d(iv_protected))), se_protected, z)
    fixed = cost[:, list(mandatory)].sum(1)
    if taus is not None and len(cost) > 1:
        raise ValueError("pareto_front: taus are bounds of one protected attribute, there are several")
    if taus is not None:
        bounds = np.asarray(taus, dtype=np.float64)[:, None]
    else:
        least = np.maximum(cost.min(1), fixed)
        bounds = np.linspace(least, np.maximum(cost.sum(1), least), 20)
    front: list[FrontPoint] = []
    for bound in bounds:
        point = select_features(values, cost, tuple(bound), max_features=max_features, mandatory=mandatory)
        if not front or point.iv > front[-1].iv + 1e-12:
            front.append(point)
    return front


def _inputs(
    iv: ArrayLike, iv_protected: ArrayLike, tau: ArrayLike, se: ArrayLike | None, z: float
) -> tuple[Floats, Floats, Floats]:
    values = np.asarray(iv, dtype=np.float64)
    cost = np.atleast_2d(np.asarray(iv_protected, dtype=np.float64))
    bound = np.atleast_1d(np.asarray(tau, dtype=np.float64))
    if se is not None:
        error = np.atleast_2d(np.asarray(se, dtype=np.float64))
        if error.shape != cost.shape:
            raise ValueError(f"select_features: se_protected is {error.shape}, iv_protected {cost.shape}")
        cost = cost + z * error
    if values.ndim != 1 or cost.shape != (len(bound), len(values)):
        raise ValueError(
            f"select_features: iv must be [F], iv_protected [F] or [A, F] and tau one bound or [A]; got "
            f"{values.shape}, {cost.shape}, {bound.shape}"
        )
    if not (np.isfinite(values).all() and np.isfinite(cost).all() and (bound >= 0).all()):
        raise ValueError("select_features: information values must be finite, and bounds at least 0")
    return values, cost, bound
