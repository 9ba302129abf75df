"""The invariants of a flow together, as the data base annotates its systems."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .checks import as_whole
from .correlation_dimension import correlation_dimension
from .flow import Flow
from .integrate import sample_flow, starts_on_attractor
from .invariants import kaplan_yorke_dimension, pesin_entropy
from .lyapunov import lyapunov_spectrum
from .multiscale_entropy import multiscale_entropy

__all__ = ["Invariants", "measure_invariants"]


@dataclass(frozen=True)
class Invariants:
    """Of one flow; times are in its own unit.

    Attributes:
        period: of its dominant frequency. spectrum: exponents, descending, nats per unit time, means over trajectories.
        kaplan_yorke: dimension of that spectrum. pesin: entropy, nats per unit time. correlation: dimension by
            regression. multiscale: fuzzy composite index, the median over coordinates; nats.
    """

    period: float
    spectrum: tuple[float, ...]
    kaplan_yorke: float
    pesin: float
    correlation: float
    multiscale: float

    @property
    def lyapunov(self) -> float:
        """The largest exponent, nats per unit time: not to be compared between flows of different periods."""
        return self.spectrum[0]

    @property
    def lyapunov_per_period(self) -> float:
        return self.spectrum[0] * self.period


def measure_invariants(
    flow: Flow, *, starts: int = 4, periods: int = 20, points: int = 3000, points_per_period: int = 100
) -> Invariants:
    """Lyapunov spectrum over ``starts`` trajectories of ``periods``; dimension and entropy of one series of ``points``.

    Pairs less than a period apart in time are no pairs of the correlation sum, other than in arXiv 2110.05266.

    Raises:
        DivergedError: a trajectory left for infinity.
        TypeError: no flow. ValueError: numbers that are none, or too few points.
    """
    periods, points = as_whole(periods, "periods", 1), as_whole(points, "points", 1)
    points_per_period = as_whole(points_per_period, "points_per_period", 1)
    if points < 2 * points_per_period + 2:
        raise ValueError(f"points: at least {2 * points_per_period + 2}, two periods, are expected; got {points}")
    states = starts_on_attractor(flow, starts)
    dt = flow.period / 300
    spectrum = lyapunov_spectrum(flow, states, dt, 300 * periods, transient=600).mean(0)
    x = sample_flow(flow, points, points_per_period, start=states[0], transient=0)
    x = (x - x.mean(0)) / x.std(0, correction=0)
    return Invariants(
        flow.period,
        tuple(spectrum.tolist()),
        float(kaplan_yorke_dimension(spectrum)),
        float(pesin_entropy(spectrum)),
        correlation_dimension(x, theiler=points_per_period),
        float(torch.quantile(multiscale_entropy(x.mT).index, 0.5)),
    )
