"""Power laws through measured points, and the temperature where a quantity leaves its level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .draws import Reals


@dataclass(frozen=True)
class PowerLaw:
    """y = e^{log_factor} Π x_k^{exponents_k}, by least squares in logarithms.

    Attributes:
        exponents, stderrs: one a regressor. log_factor: in nats. points: how many were fitted.
        residual: standard deviation of ln y about the law.
    """

    exponents: tuple[float, ...]
    stderrs: tuple[float, ...]
    log_factor: float
    residual: float
    points: int

    @property
    def exponent(self) -> float:
        """The exponent of a law in one variable."""
        return self._only(self.exponents)

    @property
    def stderr(self) -> float:
        """Its standard error."""
        return self._only(self.stderrs)

    def _only(self, values: tuple[float, ...]) -> float:
        if len(values) != 1:
            raise ValueError(f"this law has {len(values)} exponents; read exponents and stderrs")
        return values[0]


def fit_power_law(x: ArrayLike, y: ArrayLike, *, keep: ArrayLike | None = None) -> PowerLaw:
    """A power law of one variable ``[n]``, or of k together ``[n, k]``.

    Standard errors take the points as independent, with one spread of ln y. Where seeds share data or a start they are
    not; fit every seed for itself and take the spread of the exponents.

    Args:
        y: ``[n]``. keep: True where a point counts ``[n]``: leave out censored and diverged runs, and say how many.

    Raises:
        ValueError: shapes that do not fit, kept values that are not positive and finite, fewer than k + 2 points, or
            regressors that do not vary, or only together.
    """
    given, target = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    table = given[:, None] if given.ndim == 1 else given
    if table.ndim != 2 or target.shape != table.shape[:1]:
        raise ValueError(
            f"fit_power_law needs x [n] or [n, k] and y [n], got {list(given.shape)} and {list(target.shape)}"
        )
    if keep is not None:
        chosen = np.asarray(keep, dtype=bool)
        if chosen.shape != target.shape:
            raise ValueError(f"keep must be [n] = {list(target.shape)}, got {list(chosen.shape)}")
        table, target = table[chosen], target[chosen]
    n, k = table.shape
    if n < k + 2:
        raise ValueError(f"a law in {k} variable(s) with an error needs at least {k + 2} points, got {n}")
    for name, values in (("x", table), ("y", target)):
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ValueError(
                f"{name} must be positive and finite where it is fitted; leave runs that are not out by keep"
            )
    return _least_squares(np.log(table), np.log(target))


def _least_squares(log_x: Reals, log_y: Reals) -> PowerLaw:
    n, k = log_x.shape
    # About the means: it conditions the solve, and the constant is left out of it.
    centred, centre = log_x - log_x.mean(0), log_y.mean()
    # Equal values differ from their mean by rounding alone.
    if np.linalg.matrix_rank(centred, tol=1e-9 * max(1.0, float(np.abs(log_x).max())) * math.sqrt(n)) < k:
        raise ValueError("x does not vary, or its columns vary only together: the exponents are not determined")
    exponents = np.linalg.lstsq(centred, log_y - centre, rcond=None)[0]
    left = log_y - centre - centred @ exponents
    variance = float(left @ left) / (n - k - 1)
    errors = np.sqrt(variance * np.diag(np.linalg.inv(centred.T @ centred)))
    factor = float(centre - log_x.mean(0) @ exponents)
    return PowerLaw(tuple(exponents.tolist()), tuple(errors.tolist()), factor, math.sqrt(variance), n)


def critical_temperature(temps: Sequence[float], values: Sequence[float], level: float) -> float | None:
    """Temperature where a quantity first rises through ``level``, linear in logarithms; None where it does not.

    Args:
        temps: rising. values: at each, > 0; NaN or inf, of a run that diverged, counts as above every level.
        level: > 0, as 1 for a relative change of the weights, or twice the value at the lowest temperature.

    Raises:
        ValueError: fewer than two temperatures, another number of values, temperatures that do not rise from above 0,
            or values or a level that are not positive.
    """
    t, v = np.asarray(temps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if t.ndim != 1 or t.shape != v.shape or len(t) < 2:
        raise ValueError(
            f"critical_temperature needs as many values as temperatures, two or more; got {t.shape}, {v.shape}"
        )
    if not (np.isfinite(t).all() and t[0] > 0 and (np.diff(t) > 0).all()):
        raise ValueError("temperatures must be positive, finite and rising")
    if not (level > 0) or bool((v <= 0).any()):
        raise ValueError("values and level must be positive")
    v = np.where(np.isnan(v), np.inf, v)
    above = np.flatnonzero(v >= level)
    if not len(above):
        return None
    i = int(above[0])
    if i == 0 or not math.isfinite(v[i]):
        # Below the grid, or somewhere between a finite value and none: the upper end is what is known.
        return float(t[i])
    share = math.log(level / v[i - 1]) / math.log(v[i] / v[i - 1])
    return float(t[i - 1] * (t[i] / t[i - 1]) ** share)
