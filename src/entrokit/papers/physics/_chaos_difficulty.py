"""How hard flows are to forecast for one that replays their past, beside the invariants of the same trajectories."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from entrokit.physics.chaos import (
    SYSTEMS,
    NearestAnalogue,
    correlation_dimension,
    lyapunov_spectrum,
    multiscale_entropy,
    sample_flow,
    starts_on_attractor,
)
from entrokit.physics.chaos.flow import Flow

# The independent check's: points per period, points of the library and of the whole.
PER_PERIOD, LIBRARY, POINTS = 30, 3000, 3600
# Steps of Runge-Kutta a period.
STEPS = 300

Table = dict[str, list[list[float]]]
"""By name, of every flow its numbers, one a seed."""


def fifteen_flows() -> list[Flow]:
    made: Sequence[Callable[[], Flow]] = SYSTEMS
    return [system() for system in made]


def difficulty(flows: Sequence[Flow], seeds: int) -> Table:
    """Errors of nearest analogues and the invariants, of every flow from as many starts as there are seeds."""
    found: Table = {name: [] for name in ("error", "λ1 T", "λ1", "multiscale entropy", "correlation dimension")}
    for flow in flows:
        starts = starts_on_attractor(flow, seeds)
        x = sample_flow(flow, POINTS, PER_PERIOD, start=starts, transient=0, steps_per_period=STEPS)
        x = (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)
        largest = lyapunov_spectrum(flow, starts, flow.period / STEPS, 20 * STEPS, transient=2 * STEPS)[:, 0]
        found["error"].append([_analogue_error(series) for series in x])
        found["λ1"].append(largest.tolist())
        found["λ1 T"].append((largest * flow.period).tolist())
        index = multiscale_entropy(x[:, :1200].mT).index
        found["multiscale entropy"].append(index.quantile(0.5, dim=1).tolist())
        found["correlation dimension"].append(
            [correlation_dimension(series[:LIBRARY], theiler=PER_PERIOD) for series in x]
        )
    return found


def _analogue_error(series: Tensor) -> float:
    """Mean RMS distance, over the next period, of the truth from what followed the nearest state of the library."""
    begins = range(LIBRARY, POINTS - PER_PERIOD, 10)
    states = torch.stack([series[i : i + 1] for i in begins])
    forecast = NearestAnalogue().fit(series[:LIBRARY]).predict(PER_PERIOD, states)
    truth = torch.stack([series[i + 1 : i + 1 + PER_PERIOD] for i in begins])
    return float((forecast - truth).square().mean(-1).sqrt().mean())


def spearman(invariant: list[list[float]], error: list[list[float]]) -> list[float]:
    """A correlation over flows for each seed."""
    from scipy.stats import spearmanr

    pairs = zip(zip(*invariant, strict=True), zip(*error, strict=True), strict=True)
    return [float(spearmanr(own, other).statistic) for own, other in pairs]
