"""Where the entropy of a run went: its accounts put together, from its start to its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from entrokit.runs.step_account import QUADRANTS, StepAccount, correlation

from .trend import Trend

MEMORY, DECAY = "momentum", "weight decay"
OTHER_TERMS = "beyond the first order"
STATES = "other states, and what was not sampled"


@dataclass(frozen=True)
class Bar:
    """One contribution (nats), and its standard error over the accounted steps."""

    name: str
    change: float
    error: float


@dataclass(frozen=True)
class Waterfall:
    """Entropy at the start, contributions, entropy at the end (nats).

    Attributes:
        accounts: how many steps were looked at. every: steps that each stands for, on average.
        bars: in order; with ``start`` they add up to ``end``. The last one is the remainder: entropy changes too
            because the policy comes to visit other states, and steps in between were not looked at.
        predicted, measured: sums over the accounted steps. correlation, slope: of measured against predicted.
        free_correlation: of measured against the free-logit law, which needs no directional derivative.
        splits: sums of the token shares over the accounted steps, by every question of the account, as the optimiser
            got them: after the gradient's norm was clipped.
        kept: median over the accounted steps of what clipping left of the gradient. unclipped: the quadrants' bars as
            they would have been without it.
    """

    start: float
    end: float
    accounts: int
    every: float
    bars: tuple[Bar, ...]
    predicted: float
    measured: float
    correlation: float
    slope: float
    free_correlation: float
    splits: dict[str, dict[str, float]]
    kept: float
    unclipped: dict[str, float]


def waterfall_of(accounts: Sequence[StepAccount], entropy: Trend | None) -> Waterfall | None:
    """Puts accounts together; None without any, or without a course of entropy.

    An account with a number that is not finite is of a step that broke the run, which facts tell: it is left out here.
    """
    accounts = [a for a in accounts if math.isfinite(a.predicted + a.measured + a.gradient + a.clipping)]
    if not accounts or entropy is None or not len(entropy):
        return None
    quadrants = {q: [_share(a, q) for a in accounts] for q in QUADRANTS}
    columns = {q: [a.kept * s for a, s in zip(accounts, shares, strict=True)] for q, shares in quadrants.items()}
    columns |= {
        MEMORY: [a.memory for a in accounts],
        DECAY: [a.decay for a in accounts],
        OTHER_TERMS: [a.measured - a.predicted for a in accounts],
    }
    bars = [Bar(name, *_scaled(values, accounts)) for name, values in columns.items() if any(values)]
    window = min(entropy.window, max(len(entropy) // 2, 1))  # of a short course the two must not be one
    start, end = float(entropy.values[:window].mean()), float(entropy.values[-window:].mean())
    rest = end - start - sum(b.change for b in bars)
    predicted, measured = [a.predicted for a in accounts], [a.measured for a in accounts]
    # Predictions that differ by rounding alone have no slope, however well a line fits their noise.
    flat = len(accounts) < 2 or float(np.ptp(predicted)) <= 1e-12 * float(np.max(np.abs(predicted)))
    return Waterfall(
        start,
        end,
        len(accounts),
        float(np.mean([a.every for a in accounts])),
        (*bars, Bar(STATES, rest, float(np.sqrt(sum(b.error**2 for b in bars))))),
        float(sum(predicted)),
        float(sum(measured)),
        correlation(predicted, measured),
        float("nan") if flat else float(np.polyfit(predicted, measured, 1)[0]),
        correlation([a.free for a in accounts], measured),
        _splits(accounts),
        float(np.median([a.kept for a in accounts])),
        {q: _scaled(shares, accounts)[0] for q, shares in quadrants.items() if any(shares)},
    )


def clipping_said(w: Waterfall) -> str:
    """What the clipping of the gradient's norm did to the bars, in words."""
    without = ", ".join(f"{name} {change:+.3f}" for name, change in w.unclipped.items())
    return f"Clipping left {w.kept:.0%} of the gradient in the median step. Without it these bars would be: {without}."


def _share(account: StepAccount, name: str) -> float:
    part = account.splits.get("quadrant", {}).get(name)
    return 0.0 if part is None else part.share


def _scaled(values: Sequence[float], accounts: Sequence[StepAccount]) -> tuple[float, float]:
    whole = np.array([v * a.every for v, a in zip(values, accounts, strict=True)])
    error = float(whole.std(ddof=1)) * len(whole) ** 0.5 if len(whole) > 1 else float("nan")
    return float(whole.sum()), error


def _splits(accounts: Sequence[StepAccount]) -> dict[str, dict[str, float]]:
    sums: dict[str, dict[str, float]] = {}
    for account in accounts:
        for by, parts in account.splits.items():
            own = sums.setdefault(by, {})
            for key, part in parts.items():
                own[key] = own.get(key, 0.0) + account.kept * part.share
    return {by: dict(sorted(own.items(), key=lambda item: -abs(item[1]))) for by, own in sums.items()}
