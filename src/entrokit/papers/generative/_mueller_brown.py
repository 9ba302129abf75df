"""The Müller-Brown potential, its law by quadrature, and how far samples and energies are from it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from entrokit.distributions import jensen_shannon_divergence

KT, MASS, GAMMA, DT = 23.0, 0.5, 1.0, 5e-3
# Where the law has all of its mass but 1e-7, and how it is cut: cells of the quadrature, and bins of many of them.
LOW, HIGH = (-3.2, -1.2), (1.4, 3.2)
CELLS, BINS = 600, 30

# Of the four Gaussians: factor, a, b, c, x, y.
TERMS = (
    (-200.0, -1.0, 0.0, -10.0, 1.0, 0.0),
    (-100.0, -1.0, 0.0, -10.0, 0.0, 0.5),
    (-170.0, -6.5, 11.0, -6.5, -0.5, 1.5),
    (15.0, 0.7, 0.6, 0.7, -1.0, 1.0),
)


def energy(x: Tensor) -> Tensor:
    """``[...]`` of points ``[..., 2]``."""
    total = torch.zeros_like(x[..., 0])
    for factor, a, b, c, x0, y0 in TERMS:
        dx, dy = x[..., 0] - x0, x[..., 1] - y0
        total = total + factor * torch.exp(a * dx**2 + b * dx * dy + c * dy**2)
    return total


def force(x: Tensor) -> Tensor:
    """The exact one, ``[B, 2]``."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(energy(x).sum(), x)
    return -gradient


def centres(cells: int) -> Tensor:
    """Of the cells of the domain, ``[cells², 2]`` in float64."""
    axes = [
        low + (torch.arange(cells, dtype=torch.float64) + 0.5) * (high - low) / cells
        for low, high in zip(LOW, HIGH, strict=True)
    ]
    return torch.cartesian_prod(*axes)


@cache
def law() -> Tensor:
    """Probabilities of the cells of the quadrature, ``[CELLS²]``."""
    return (-energy(centres(CELLS)) / KT).softmax(0)


def draw(count: int, generator: torch.Generator) -> Tensor:
    """Independent samples ``[count, 2]`` in float32: a cell by its probability, a place in it evenly."""
    chosen = torch.multinomial(law(), count, replacement=True, generator=generator)
    within = torch.rand(count, 2, dtype=torch.float64, generator=generator) - 0.5
    size = (torch.tensor(HIGH, dtype=torch.float64) - torch.tensor(LOW, dtype=torch.float64)) / CELLS
    return (centres(CELLS)[chosen] + within * size).float()


def binned(cells: Tensor) -> Tensor:
    """Probabilities of cells as those of bins, and 0 for outside: ``[BINS² + 1]``."""
    side = CELLS // BINS
    bins = cells.reshape(BINS, side, BINS, side).sum((1, 3)).flatten()
    return torch.cat([bins, bins.new_zeros(1)])


def histogram(x: Tensor) -> Tensor:
    """Shares ``[BINS² + 1]`` of samples ``[n, 2]``; the last of those outside."""
    low, high = torch.tensor(LOW), torch.tensor(HIGH)
    place = ((x - low) / (high - low) * BINS).floor().long()
    inside = ((place >= 0) & (place < BINS)).all(1)
    bins = torch.where(inside, place[:, 0] * BINS + place[:, 1], BINS**2)
    return torch.bincount(bins, minlength=BINS**2 + 1).double() / len(x)


def js_of_samples(x: Tensor) -> float:
    """Jensen-Shannon divergence in nats of the histogram of samples ``[n, 2]`` and the law."""
    return float(jensen_shannon_divergence(histogram(x), binned(law())))


def js_of_energy(log_q: Callable[[Tensor], Tensor], cells: int = 120) -> float:
    """That of a log-density of points ``[n, 2]``, normalised on the domain, and the law: simulated for ever."""
    at = centres(cells)
    with torch.no_grad():
        own = log_q(at.float()).double()
    return float(jensen_shannon_divergence(own, -energy(at) / KT, from_logits=True))
