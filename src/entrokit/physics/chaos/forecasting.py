"""The benchmark: one forecaster on many flows, its errors beside what makes the flows hard."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from entrokit.extras import require

from .annotate import Invariants
from .checks import ArrayLike, as_float64, as_states, as_whole
from .flow import Flow, check_flow
from .forecasters import Forecaster, check_forecaster
from .integrate import sample_flow, starts_on_attractor
from .scores import nrmse, smape

__all__ = ["BenchmarkTable", "Row", "benchmark_forecaster", "forecast_error"]


@dataclass(frozen=True)
class Row:
    """One flow: errors of the forecasts from each start, and its invariants where they were given."""

    system: str
    smape: tuple[float, ...]
    nrmse: tuple[float, ...]
    invariants: Invariants | None = None


@dataclass(frozen=True)
class BenchmarkTable:
    """Rows of the benchmark; ``str`` of it is a Markdown table."""

    rows: tuple[Row, ...]

    def errors(self, score: str = "smape") -> list[float]:
        """Medians over starts, one a flow, of ``smape`` or ``nrmse``.

        Raises:
            ValueError: no such score.
        """
        if score not in ("smape", "nrmse"):
            raise ValueError(f"score: is smape or nrmse; got {score!r}")
        return [_median(row.smape if score == "smape" else row.nrmse) for row in self.rows]

    def spearman(self, invariant: str = "lyapunov_per_period", score: str = "smape") -> float:
        """Rank correlation over flows between an error and an attribute of `Invariants`.

        Raises:
            ValueError: fewer than three flows, rows without invariants, an attribute that is no number, or no ranks.
        """
        require("a rank correlation", "physics")
        from scipy.stats import spearmanr

        if len(self.rows) < 3:
            raise ValueError(f"spearman: three flows at least are expected; the table has {len(self.rows)}")
        values = [getattr(row.invariants, invariant, None) for row in self.rows]
        lacking = [r.system for r, v in zip(self.rows, values, strict=True) if not isinstance(v, (int, float))]
        if lacking:
            raise ValueError(f"spearman: {', '.join(lacking)}: no {invariant!r} is known; give `invariants`")
        errors = self.errors(score)
        if len(set(values)) == 1 or len(set(errors)) == 1:
            raise ValueError(f"spearman: all flows have the same {invariant} or {score}, and no ranks")
        return float(spearmanr(values, errors).statistic)

    def __str__(self) -> str:
        head = "| system | sMAPE | NRMSE | λ1 T | D_KY | h T | D_2 | MSE |"
        lines = [head, "|---" * 8 + "|"]
        for row, percent, error in zip(self.rows, self.errors(), self.errors("nrmse"), strict=True):
            lines.append(f"| {row.system} | {percent:.1f} | {error:.2f} | {_cells(row.invariants)} |")
        return "\n".join(lines)


def benchmark_forecaster(
    forecaster: Forecaster,
    flows: Sequence[Flow],
    points_per_period: int = 15,
    periods: int = 12,
    *,
    coordinate: int | None = 0,
    starts: int = 1,
    invariants: Mapping[str, Invariants] | None = None,
) -> BenchmarkTable:
    """Fits a copy of a forecaster to five sixths of each trajectory and compares what it says of the last sixth.

    Args:
        forecaster: ``fit(series [T, C])``, ``predict(horizon) -> [horizon, C]``; of a regressor, whose ``fit`` takes
            (X, y), `Autoregressive` makes one. What it is tuned by must not be these trajectories: they begin at
            `starts_on_attractor`, so tune on others.
        flows: with names that differ. points_per_period: 15 is "coarse" and 100 "fine" in arXiv 2110.05266. periods: of
            a trajectory. coordinate: the one that is forecast; None is the whole state.
        starts: trajectories a flow. invariants: by a flow's name, as `measure_invariants` gives them.

    Raises:
        DivergedError: a trajectory left for infinity.
        TypeError: a class in place of a forecaster or of a flow, one flow that is in no list, or anything else that is
            none. ValueError: no flow, names that are the same, a coordinate that is none; a forecast of another shape,
            or one that is not finite.
    """
    check_forecaster(forecaster)
    flows = _flows(flows)
    points_per_period = as_whole(points_per_period, "points_per_period", 1)
    periods, starts = as_whole(periods, "periods", 1), as_whole(starts, "starts", 1)
    coordinate = None if coordinate is None else as_whole(coordinate, "coordinate", 0)
    if not isinstance(invariants, Mapping | None):
        raise TypeError(f"invariants: a mapping by the names of flows is expected; got {type(invariants).__name__}")
    names = [flow.name for flow in flows]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"flows: at least one, and names that differ, are expected; got {names}")
    for flow in flows:
        if coordinate is not None and coordinate >= flow.dimension:
            raise ValueError(f"coordinate: {flow.name} has coordinates 0 to {flow.dimension - 1}; got {coordinate}")
    rows = []
    for flow in flows:
        begun = starts_on_attractor(flow, starts)
        x = sample_flow(flow, points_per_period * periods, points_per_period, start=begun, transient=0)
        chosen = x if coordinate is None else x[..., [coordinate]]
        errors = [
            forecast_error(copy.deepcopy(forecaster), series, len(series) * 5 // 6, flow.name) for series in chosen
        ]
        percents, roots = zip(*errors, strict=True)
        rows.append(Row(flow.name, percents, roots, (invariants or {}).get(flow.name)))
    return BenchmarkTable(tuple(rows))


def forecast_error(forecaster: Forecaster, series: ArrayLike, fitted: int, name: str = "series") -> tuple[float, float]:
    """`smape` and `nrmse` of one forecast: the first ``fitted`` of ``[T, C]`` are learnt from, and the rest compared.

    The forecaster sees coordinates standardised by the mean and standard deviation (n) of what it learns from. sMAPE is
    taken in the series' own units, as a coordinate of mean 0 makes it 200 for a forecast of the mean; NRMSE in standard
    deviations.

    Raises:
        TypeError: no forecaster, or a class. ValueError: a split that leaves nothing; a forecast of another shape, or
            one that is not finite.
    """
    check_forecaster(forecaster)
    x = as_states(series, name)
    if x.ndim != 2:
        raise ValueError(f"{name}: one series [T, C] is expected; got {list(x.shape)}")
    fitted = as_whole(fitted, "fitted", 0)
    if not 1 < fitted < len(x):
        raise ValueError(f"{name}: a split after {fitted} of {len(x)} points leaves nothing to learn or to compare")
    past = x[:fitted]
    centre, spread = past.mean(0), past.std(0, correction=0)
    scale = torch.where(spread > 0, spread, 1.0)
    truth = x[fitted:]
    forecaster.fit((past - centre) / scale)
    guess = as_float64(forecaster.predict(len(truth)), f"{name}: forecast").to(x.device)
    if guess.shape != truth.shape:
        kind = type(forecaster).__name__
        raise ValueError(f"{name}: {kind} forecast {list(guess.shape)} where {list(truth.shape)} is due")
    guess = guess * scale + centre
    return smape(truth, guess), nrmse(truth, guess, scale)


def _flows(given: Sequence[Flow]) -> list[Flow]:
    if isinstance(given, Flow):
        raise TypeError(f"flows: a list of them is expected; got {given.name} alone")
    try:
        flows = list(given)
    except TypeError:
        raise TypeError(f"flows: a list of them is expected; got a {type(given).__name__}") from None
    for i, flow in enumerate(flows):
        check_flow(flow, f"flows[{i}]")
    return flows


def _median(values: Sequence[float]) -> float:
    return float(torch.quantile(torch.tensor(values, dtype=torch.float64), 0.5))


def _cells(of: Invariants | None) -> str:
    if of is None:
        return " | ".join([""] * 5)
    values = (of.lyapunov_per_period, of.kaplan_yorke, of.pesin * of.period, of.correlation, of.multiscale)
    return " | ".join(f"{value:.2f}" for value in values)
