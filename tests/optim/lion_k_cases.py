"""A K of one's own, smooth, and the members of the family that the tests of Lion-K go through."""

import torch

from entrokit.optim.lion_k import convex

DELTA = 0.3
X = torch.tensor([0.4, -0.7, 0.9], dtype=torch.float64)
M = torch.tensor([0.5, -0.3, 0.8], dtype=torch.float64)
FLOW = {"alpha": 0.7, "gamma": 0.9, "e": 0.6}


class Smooth:
    """K = Σ √(z² + δ²) − δ, K* = Σ δ − δ√(1 − y²): it knows nothing of the library."""

    elementwise = True
    least_at_zero = True

    def value(self, z):
        return ((z.square() + DELTA**2).sqrt() - DELTA).sum()

    def grad(self, z):
        return z / (z.square() + DELTA**2).sqrt()

    def conjugate(self, y):
        inside = y.abs().amax() <= 1.0
        return torch.where(inside, (DELTA - DELTA * (1.0 - y.square()).clamp(min=0.0).sqrt()).sum(), torch.inf)

    def conjugate_grad(self, y):
        return DELTA * y / (1.0 - y.square()).sqrt()

    def distance(self, y):
        return (y.abs().amax() - 1.0).clamp(min=0.0)


OPTIONS = {
    "l1": {},
    "lp": {"p": 3.0},
    "l2": {},
    "dead-zone": {"e": 0.5},
    "huber": {"e": 0.5},
    "top-k": {"k": 2},
    "half-square": {},
    "nuclear": {},
    "logsumexp": {},
}


def member(name):
    return convex(name, **OPTIONS[name])


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def parameter(values, dtype=torch.float64):
    return torch.nn.Parameter(torch.as_tensor(values, dtype=dtype).clone())
