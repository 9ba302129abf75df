"""Flows, maps and noise whose exponents, dimension and entropy the literature knows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from entrokit.papers.told import spread
from entrokit.physics.chaos import (
    Chen,
    Lorenz,
    Rossler,
    correlation_dimension,
    henon,
    logistic,
    lyapunov_spectrum,
    map_lyapunov_spectrum,
    rk4,
    sample_entropy,
    sample_flow,
    spectrum_of_tangents,
    starts_on_attractor,
)
from entrokit.physics.chaos.flow import Flow

from ..claims import judge_interval
from ..entry import Shown
from ..evidence import Budget, Finding

# Sprott, Chaos and Time-Series Analysis (2003), and ln 2.
KNOWN = {"Lorenz": 0.9056, "Rössler": 0.0714, "Chen": 2.0272, "Hénon": 0.41922, "logistic": math.log(2)}
TRAJECTORIES = 32


def known_exponents(budget: Budget) -> Iterator[Shown]:
    seeds = len(budget.seeds)
    flows = {"Lorenz": Lorenz(beta=8 / 3), "Rössler": Rossler(), "Chen": Chen()}
    begun = {name: _cloud_of_starts(flow, seeds) for name, flow in flows.items()}
    spectra = {name: _flow_spectra(flow, begun[name]) for name, flow in flows.items()}
    spectra["Hénon"] = _map_spectra(henon(), 2, seeds)
    spectra["logistic"] = _map_spectra(logistic(), 1, seeds)
    largest = {name: found[:, 0].tolist() for name, found in spectra.items()}
    off = {name: abs(statistics.fmean(largest[name]) / value - 1) for name, value in KNOWN.items()}
    yield Finding(
        "Largest exponents are those of the literature.",
        "mean over seeds within 3 % for Lorenz, Rössler, Chen, Hénon and the logistic map",
        "; ".join(f"{name} {spread(largest[name], '.4f')}, known {KNOWN[name]:.4f}" for name in KNOWN),
        max(off.values()) <= 0.03,
        "Sprott, Chaos and Time-Series Analysis; ln 2",
        largest,
    )
    traces = {
        "Lorenz": (spectra["Lorenz"].sum(-1) + 41 / 3).abs().tolist(),
        "Hénon": (spectra["Hénon"].sum(-1) - math.log(0.3)).abs().tolist(),
    }
    yield Finding(
        "Exponents add up to the divergence.",
        "every seed: Lorenz to -41/3 within 1e-3, Hénon to ln 0.3 within 1e-8",
        "; ".join(f"{name} off by at most {max(own):.1e}" for name, own in traces.items()),
        max(traces["Lorenz"]) < 1e-3 and max(traces["Hénon"]) < 1e-8,
        "",
        traces,
    )
    annotated, exact = _tangents_compared(flows["Lorenz"], begun["Lorenz"])
    yield judge_interval(
        "The annotated spectra are too chaotic: their tangent steps are Euler's.",
        "λ1 of Lorenz, tangents I + J T/500 minus tangents of the Runge-Kutta step",
        "nats",
        annotated,
        exact,
        {"Euler": annotated, "Runge-Kutta": exact},
        above=True,
        reference="annotated: 1.0911; independent check: 1.022 against 0.906",
    )
    lorenz = sample_flow(flows["Lorenz"], 4000, 10, start=begun["Lorenz"][::TRAJECTORIES], transient=0)
    g = torch.Generator().manual_seed(budget.seeds[0])
    noise = torch.randn(seeds, 4000, generator=g, dtype=torch.float64)
    dimensions = [correlation_dimension(own, r_min=0.05, r_max=0.3, theiler=10) for own in lorenz]
    entropies = sample_entropy(noise).tolist()
    yield Finding(
        "Dimension and entropy are those of the literature.",
        "means over seeds: correlation dimension of Lorenz within 0.1 of 2.05, sample entropy of Gaussian noise within "
        "0.02 of -ln erf(0.1) = 2.185",
        f"dimension {spread(dimensions)}; entropy {spread(entropies)}",
        abs(statistics.fmean(dimensions) - 2.05) < 0.1
        and abs(statistics.fmean(entropies) + math.log(math.erf(0.1))) < 0.02,
        "Grassberger and Procaccia (1983): 2.05 ± 0.01",
        {"correlation dimension": dimensions, "sample entropy": entropies},
    )


def _cloud_of_starts(flow: Flow, seeds: int) -> Tensor:
    """``[seeds * TRAJECTORIES, D]``: states of the attractor, from a cloud around one that is on it."""
    g = torch.Generator().manual_seed(0)
    cloud = torch.randn(seeds * TRAJECTORIES, flow.dimension, generator=g, dtype=torch.float64)
    state = starts_on_attractor(flow, 1)
    return rk4(flow, state + 0.1 * cloud, flow.period / 100, 2000, every=2000)[:, -1]


def _flow_spectra(flow: Flow, starts: Tensor) -> Tensor:
    """``[seeds, D]``, each a mean over its trajectories of 20 periods, after 5 in which frames turn."""
    found = lyapunov_spectrum(flow, starts, flow.period / 200, 4000, transient=1000)
    return found.view(-1, TRAJECTORIES, flow.dimension).mean(1)


def _map_spectra(step: Callable[[Tensor], Tensor], dimension: int, seeds: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    starts = 0.1 + 0.1 * torch.rand(seeds * TRAJECTORIES, dimension, generator=g, dtype=torch.float64)
    return map_lyapunov_spectrum(step, starts, 3000, transient=100).view(seeds, TRAJECTORIES, -1).mean(1)


def _tangents_compared(flow: Flow, starts: Tensor) -> tuple[list[float], list[float]]:
    """λ1 by the release's tangents ``I + J dt`` and by ours, along the same 3000 states, a 500th of a period apart."""
    dt, steps = flow.period / 500, 3000
    jacobians = flow.jacobian(rk4(flow, starts, dt, steps)[:, :-1])
    euler = spectrum_of_tangents(torch.eye(flow.dimension, dtype=torch.float64) + dt * jacobians, dt)
    exact = lyapunov_spectrum(flow, starts, dt, steps)
    first, second = (found[:, 0].view(-1, TRAJECTORIES).mean(1).tolist() for found in (euler, exact))
    return first, second
