"""Strictly increasing, piecewise linear maps of the gap below a row's best utility, fitted by maximum likelihood.

With d = max u - u ≥ 0, breaks 0 = t₀ < t₁ < … and slopes θ_j > 0 the map is g(u) = -Σ_j θ_j φ_j(d), where φ_j is how
much of [0, d] lies in piece j. The negative log-likelihood

    mean over rows of  log Σ_k exp(-θ·φ(d_k)) + θ·φ(d_y)

is convex in θ, with gradient E[φ(d_y) - E_P φ] and Hessian E[Cov_P φ]. One piece is softmax(θ₀ u): temperature 1/θ₀.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# A forbidden candidate's gap: exp of it is 0 at any slope, and 0 times its square too.
_FORBIDDEN = 1e100
# Numbers of a chunk in float64, pieces included.
_CHUNK = 1 << 18
# Nats by which θ ∇NLL may differ from 0; a sum of float64 is not better.
_TOLERANCE = 1e-11
_MOST_STEPS = 200
# Of the NLL: what float64 does not tell from 0.
_RESOLUTION = 1e-16
# A step changes no slope by more than this factor: far from the optimum the Hessian may be 0.
_FACTOR = 8.0


@dataclass(frozen=True)
class Slopes:
    """Of a fit: the slope of every piece, the mean NLL (nats), which slopes lie at the lower or the upper bound."""

    values: tuple[float, ...]
    nll: float
    at_low: tuple[bool, ...]
    at_high: tuple[bool, ...]


def pieces_of(gaps: Tensor, breaks: Sequence[float]) -> Tensor:
    """φ: how much of [0, gap] lies in each piece, ``[..., J]``; the last piece has no end."""
    ends = [*breaks[1:], torch.inf]
    return torch.stack([(gaps - a).clamp(0.0, b - a) for a, b in zip(breaks, ends, strict=True)], -1)


def fit_slopes(
    u: Tensor, index: Tensor, breaks: Sequence[float], low: float, high: float, start: float | None = None
) -> Slopes:
    """The slopes in [low, high] of least NLL, from one that all start with, by projected Newton steps.

    A piece in which no observed output lies has no best slope: the steeper, the likelier. It is at ``high`` from the
    start, since its gradient vanishes on the way there and would end the search.

    Args:
        u: utilities ``[N, K]``. index: observed outputs ``[N, 1]``. breaks: where pieces begin, the first 0. start: by
            default one over the mean gap, so that the search does not depend on the scale of the utilities.

    Raises:
        RuntimeError: no optimum after 200 steps, which convexity does not foresee.
    """
    endless, gaps = _observed(u, index, breaks)
    theta = torch.full((len(breaks),), 1.0 / gaps if start is None else start, dtype=torch.float64).clamp(low, high)
    theta = torch.where(endless, high, theta)
    value, slope, curve = _likelihood(u, index, breaks, theta)
    for _ in range(_MOST_STEPS):
        held = ((theta <= low) & (slope >= 0)) | ((theta >= high) & (slope <= 0))
        free = ~held
        if not bool(free.any()) or float((theta * slope)[free].abs().max()) <= _TOLERANCE:
            break
        moved = _searched(u, index, breaks, theta, value, slope, _newton(theta, slope, curve, free), low, high)
        if moved is None:
            moved = _searched(u, index, breaks, theta, value, slope, _along(theta, slope, free), low, high)
        if moved is None:  # rounding: no step is better any more
            break
        theta, value, slope, curve = moved
    else:
        raise RuntimeError(
            f"the map was not fitted after {_MOST_STEPS} steps: slopes {theta.tolist()}, NLL {value}; please report it"
        )
    return Slopes(tuple(theta.tolist()), value, tuple((theta <= low).tolist()), tuple((theta >= high).tolist()))


def _observed(u: Tensor, index: Tensor, breaks: Sequence[float]) -> tuple[Tensor, float]:
    """Pieces that candidates reach and no observed output does, ``[J]``, and the mean gap that is not 0."""
    own, total, count = torch.zeros(len(breaks), dtype=torch.float64), 0.0, 0
    furthest = 0.0
    for gaps, observed in _chunks(u, index, 1):
        own += pieces_of(gaps.gather(1, observed), breaks).sum((0, 1)).cpu()
        apart = gaps[(gaps > 0) & (gaps < _FORBIDDEN)]
        if len(apart):
            total, count, furthest = total + float(apart.sum()), count + len(apart), max(furthest, float(apart.max()))
    reached = torch.tensor([furthest > begin for begin in breaks])
    return (own == 0) & reached, total / count if total else 1.0


def _likelihood(u: Tensor, index: Tensor, breaks: Sequence[float], theta: Tensor) -> tuple[float, Tensor, Tensor]:
    """Mean NLL, gradient ``[J]`` and Hessian ``[J, J]``."""
    count = len(theta)
    value, slope, curve = 0.0, theta.new_zeros(count), theta.new_zeros(count, count)
    for gaps, own in _chunks(u, index, count):
        phi = pieces_of(gaps, breaks)
        logits = -(phi @ theta.to(phi.device))
        norm = logits.logsumexp(-1, keepdim=True)
        weights = (logits - norm).exp()
        mean = (weights.unsqueeze(-1) * phi).sum(-2)
        observed = phi.gather(-2, own.unsqueeze(-1).expand(-1, -1, count)).squeeze(-2)
        flat = phi.flatten(0, 1)
        squares = (flat * weights.reshape(-1, 1)).mT @ flat - mean.mT @ mean
        value += float((norm.squeeze(-1) - logits.gather(-1, own).squeeze(-1)).sum())
        slope += (observed - mean).sum(0).cpu()
        curve += squares.cpu()
    rows = len(u)
    return value / rows, slope / rows, curve / rows


def _chunks(u: Tensor, index: Tensor, pieces: int) -> Iterator[tuple[Tensor, Tensor]]:
    rows = max(1, _CHUNK // (u.shape[-1] * pieces))
    for part, own in zip(torch.split(u.detach(), rows), torch.split(index, rows), strict=True):
        values = part.double()
        yield (values.amax(-1, keepdim=True) - values).clamp(max=_FORBIDDEN), own


def _newton(theta: Tensor, slope: Tensor, curve: Tensor, free: Tensor) -> Tensor:
    # In units of each slope, so that damping does not depend on the scale of the utilities.
    scaled = curve[free][:, free] * theta[free].outer(theta[free])
    damped = scaled + torch.eye(len(scaled), dtype=scaled.dtype) * (1e-12 + 1e-9 * float(scaled.diagonal().mean()))
    step = torch.zeros_like(theta)
    step[free] = -theta[free] * torch.linalg.solve(damped, (theta * slope)[free])
    return step


def _along(theta: Tensor, slope: Tensor, free: Tensor) -> Tensor:
    """Down the gradient of the logarithms of the slopes."""
    return torch.where(free, -theta.square() * slope, 0.0)


def _searched(
    u: Tensor,
    index: Tensor,
    breaks: Sequence[float],
    theta: Tensor,
    value: float,
    slope: Tensor,
    step: Tensor,
    low: float,
    high: float,
) -> tuple[Tensor, float, Tensor, Tensor] | None:
    """A step down, cut where a slope meets a bound, and halved until it is one; None where none is."""
    least, most = (theta / _FACTOR).clamp(min=low), (theta * _FACTOR).clamp(max=high)
    share = 1.0
    for _ in range(40):
        trial = (theta + share * step).clamp(least, most)
        # A slope that a step was to bring to its bound lies there, whatever rounding says.
        trial = torch.where((trial - low).abs() <= 1e-12 * low, low, trial)
        trial = torch.where((trial - high).abs() <= 1e-12 * high, high, trial)
        expected = float(slope @ (trial - theta))
        if abs(expected) <= _RESOLUTION * max(1.0, value):
            return None
        if expected < 0:
            found = _likelihood(u, index, breaks, trial)
            if found[0] <= value + 1e-4 * expected:
                return trial, *found
        share /= 2
    return None
