"""Forecasters that others should beat: ``fit(series)``, ``predict(horizon)``; and one that a regressor makes."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from .checks import ArrayLike, as_float64, as_not_negative, as_states, as_whole

__all__ = [
    "Autoregressive",
    "Forecaster",
    "LinearAutoregression",
    "MeanForecaster",
    "NearestAnalogue",
    "check_forecaster",
]


class Forecaster(Protocol):
    """Anything that learns from one series ``[T, C]`` and says how it goes on."""

    def fit(self, series: Tensor) -> object:
        """Learns; what it returns is not looked at."""

    def predict(self, horizon: int) -> ArrayLike:
        """The ``horizon`` points behind the series, ``[horizon, C]``."""


def check_forecaster(forecaster: Any) -> None:
    """Raises TypeError: a class, what lacks ``fit`` or ``predict``, or a regressor, whose ``fit`` takes (X, y)."""
    if isinstance(forecaster, type):
        kind = forecaster.__name__
        raise TypeError(f"forecaster: an instance is expected; got the class {kind}, {kind}() makes one")
    lacking = [name for name in ("fit", "predict") if not callable(getattr(forecaster, name, None))]
    if lacking:
        raise TypeError(
            f"forecaster: fit(series) and predict(horizon) are expected; a {type(forecaster).__name__} has no "
            f"{' and no '.join(lacking)}"
        )
    if not _takes_one(forecaster.fit):
        kind = type(forecaster).__name__
        raise TypeError(
            f"forecaster: fit(series [T, C]) and predict(horizon) -> [horizon, C] are expected; fit of a {kind} takes "
            f"more than a series, as regressors do: Autoregressive({kind}(...), lags=5) makes a forecaster of one"
        )


def _takes_one(function: Any) -> bool:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # compiled, and silent about what it takes
        return True
    return True


@dataclass
class MeanForecaster:
    """The mean of the series, for ever."""

    mean_: Tensor = field(init=False, repr=False)

    def fit(self, series: ArrayLike) -> Self:
        self.mean_ = _one(series, 1).mean(0)
        return self

    def predict(self, horizon: int) -> Tensor:
        horizon = as_whole(horizon, "horizon", 1)
        return _fitted(self, "mean_").expand(horizon, -1).clone()


@dataclass
class NearestAnalogue:
    """Replays what followed the most similar stretch of the past (Lorenz, 1969).

    Attributes:
        lags: points of a stretch. neighbours: how many are averaged.
    """

    lags: int = 1
    neighbours: int = 1
    series_: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.lags = as_whole(self.lags, "lags", 1)
        self.neighbours = as_whole(self.neighbours, "neighbours", 1)

    def fit(self, series: ArrayLike) -> Self:
        self.series_ = _one(series, self.lags + 1)
        return self

    def predict(self, horizon: int, after: ArrayLike | None = None) -> Tensor:
        """``[horizon, C]`` behind the series; or ``[B, horizon, C]`` behind others of the same process, ``[B, L, C]``.

        Raises:
            ValueError: not fitted, fewer stretches with a future of ``horizon`` points than ``neighbours``, or a
                history of fewer than ``lags`` points.
        """
        horizon = as_whole(horizon, "horizon", 1)
        series = _fitted(self, "series_")
        history = _history(series, after, self.lags)
        stretches = series.unfold(0, self.lags, 1).flatten(1)
        followed = len(stretches) - horizon
        if followed < self.neighbours:
            raise ValueError(
                f"horizon: of {len(series)} points only {max(followed, 0)} stretches go on for {horizon} more"
            )
        now = history[:, -self.lags :].mT.flatten(1)
        nearest = torch.cdist(now, stretches[:followed]).topk(self.neighbours, largest=False).indices
        ahead = torch.arange(self.lags, self.lags + horizon, device=series.device)
        futures = series[nearest[..., None] + ahead].mean(1)
        return futures if after is not None else futures[0]


@dataclass
class LinearAutoregression:
    """Each point a linear function of the ``lags`` before it, by ridge regression; forecasts are iterated.

    Attributes:
        ridge: penalty on squared coefficients of standardised coordinates, per point of the series.
    """

    lags: int = 5
    ridge: float = 1e-6
    coefficients_: Tensor = field(init=False, repr=False)
    centre_: Tensor = field(init=False, repr=False)
    scale_: Tensor = field(init=False, repr=False)
    series_: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.lags = as_whole(self.lags, "lags", 1)
        self.ridge = as_not_negative(self.ridge, "ridge")

    def fit(self, series: ArrayLike) -> Self:
        self.series_ = x = _one(series, self.lags + 2)
        self.centre_ = x.mean(0)
        spread = x.std(0)
        self.scale_ = torch.where(spread > 0, spread, 1.0)
        y = (x - self.centre_) / self.scale_
        design = y.unfold(0, self.lags, 1)[:-1].mT.flatten(1)
        design = torch.cat([design, torch.ones_like(design[:, :1])], 1)
        penalty = torch.full_like(design[0], self.ridge * len(design)).sqrt().diag()[:-1]
        target = torch.cat([y[self.lags :], y.new_zeros(len(penalty), y.shape[1])])
        self.coefficients_ = torch.linalg.lstsq(torch.cat([design, penalty]), target, driver="gelsd").solution
        return self

    def predict(self, horizon: int, after: ArrayLike | None = None) -> Tensor:
        """As `NearestAnalogue.predict`.

        Raises:
            ValueError: not fitted, a history of fewer than ``lags`` points, or a forecast that left for infinity.
        """
        horizon = as_whole(horizon, "horizon", 1)
        coefficients = _fitted(self, "coefficients_")
        history = (_history(self.series_, after, self.lags) - self.centre_) / self.scale_
        points = list(history[:, -self.lags :].unbind(1))
        for _ in range(horizon):
            past = torch.stack(points[-self.lags :], 1).flatten(1)
            points.append(past @ coefficients[:-1] + coefficients[-1])
        ahead = torch.stack(points[self.lags :], 1) * self.scale_ + self.centre_
        if not bool(ahead.isfinite().all()):
            raise ValueError(
                f"horizon: the recursion left for infinity within {horizon} points; more ridge, fewer lags"
            )
        return ahead if after is not None else ahead[0]


@dataclass
class Autoregressive:
    """Each point by a regressor from the ``lags`` before it; forecasts are iterated.

    Attributes:
        regressor: as scikit-learn has them: ``fit(X [N, lags * C], y [N, C], or [N] of one coordinate)`` and
            ``predict(X)`` of the shape of y. A copy of it is fitted, ``regressor_``.
    """

    regressor: Any
    lags: int = 5
    regressor_: Any = field(init=False, repr=False)
    series_: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.lags = as_whole(self.lags, "lags", 1)
        if isinstance(self.regressor, type) or not all(
            callable(getattr(self.regressor, name, None)) for name in ("fit", "predict")
        ):
            raise TypeError(f"regressor: an instance with fit(X, y) and predict(X) is expected; got {self.regressor!r}")

    def fit(self, series: ArrayLike) -> Self:
        x = _one(series, self.lags + 1)
        past = x.unfold(0, self.lags, 1)[:-1].mT.flatten(1)
        target = x[self.lags :]
        self.regressor_ = copy.deepcopy(self.regressor)
        self.regressor_.fit(past.cpu().numpy(), (target[:, 0] if x.shape[1] == 1 else target).cpu().numpy())
        self.series_ = x
        return self

    def predict(self, horizon: int, after: ArrayLike | None = None) -> Tensor:
        """As `NearestAnalogue.predict`.

        Raises:
            ValueError: not fitted, a history of fewer than ``lags`` points, or a regressor that gives another shape or
                what is not finite.
        """
        horizon = as_whole(horizon, "horizon", 1)
        history = _history(_fitted(self, "series_"), after, self.lags)
        points = list(history[:, -self.lags :].unbind(1))
        for _ in range(horizon):
            past = torch.stack(points[-self.lags :], 1).flatten(1)
            said = as_float64(self.regressor_.predict(past.cpu().numpy()), "regressor: its prediction")
            if said.numel() != points[0].numel():
                raise ValueError(
                    f"regressor: of {len(past)} rows it predicts {list(said.shape)}, and not {list(points[0].shape)}"
                )
            points.append(said.to(history).view_as(points[0]))
        ahead = torch.stack(points[self.lags :], 1)
        return ahead if after is not None else ahead[0]


def _one(series: ArrayLike, least: int) -> Tensor:
    given = as_states(series, "series", least)
    if given.ndim != 2:
        raise ValueError(f"series: one of [T, C] is expected; got {list(given.shape)}")
    return given


def _history(series: Tensor, after: ArrayLike | None, lags: int) -> Tensor:
    if after is None:
        return series[None]
    history = as_states(after, "after", lags)
    if history.ndim != 3 or history.shape[-1] != series.shape[-1]:
        raise ValueError(f"after: histories [B, L, {series.shape[-1]}] are expected; got {list(history.shape)}")
    return history


def _fitted(forecaster: object, name: str) -> Tensor:
    found = getattr(forecaster, name, None)
    if not isinstance(found, Tensor):
        raise ValueError(f"{type(forecaster).__name__}: fit it to a series before it predicts")
    return found
