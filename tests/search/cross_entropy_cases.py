"""Families and scores that several test modules use."""

import math
from dataclasses import dataclass

import torch

from entrokit.search.cross_entropy import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    Exponential,
    Gaussian,
    Mixture,
    ShiftedGaussian,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


FAMILIES = {
    "exponential": Exponential(double(0.5, 2.0)),
    "shifted": ShiftedGaussian(double(1.0, -2.0), double(0.5, 3.0)),
    "diagonal": DiagonalGaussian(double(1.0, -2.0), double(0.5, 3.0)),
    "gaussian": Gaussian(double(1.0, -2.0), torch.tensor([[1.0, 0.6], [0.6, 2.0]], dtype=torch.float64)),
    "bernoulli": Bernoulli(double(0.2, 0.7)),
    "categorical": Categorical(torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]], dtype=torch.float64)),
}

# Of components far enough apart that a fit is the likeliest one nearby.
MIXTURE = Mixture([ShiftedGaussian(double(-3.0, 0.0)), ShiftedGaussian(double(3.0, 1.0))], [0.3, 0.7])


def normal_tail(gamma):
    return 0.5 * math.erfc(gamma / math.sqrt(2.0))


# Events in two places: a score, a law, and how often it is 4 or more.
TWO_PLACES = {
    "two-sides": (torch.abs, ShiftedGaussian(0.0), 2 * normal_tail(4.0)),
    "right-angle": (lambda x: x.amax(1), ShiftedGaussian(double(0.0, 0.0)), 1 - (1 - normal_tail(4.0)) ** 2),
    "unequal": (lambda x: torch.maximum(x, -x - 0.3), ShiftedGaussian(0.0), normal_tail(4.0) + normal_tail(4.3)),
}


@dataclass(frozen=True)
class Mirrored:
    """A user's family, of three methods and no base class: half N(mean, 1), half N(-mean, 1)."""

    mean: float = 0.0

    def sample(self, n, generator):
        side = torch.randint(0, 2, (n,), generator=generator) * 2 - 1
        return side * self.mean + torch.randn(n, generator=generator, dtype=torch.float64)

    def log_prob(self, x):
        sides = torch.logaddexp(-0.5 * (x - self.mean) ** 2, -0.5 * (x + self.mean) ** 2)
        return sides - math.log(2.0) - 0.5 * math.log(2.0 * math.pi)

    def fit(self, x, log_weights, smoothing=1.0):
        w = torch.softmax(log_weights, 0)
        mean = float((w * x.abs()).sum())
        for _ in range(20):
            mean = float((w * x * torch.tanh(mean * x)).sum())
        return Mirrored(smoothing * mean + (1.0 - smoothing) * self.mean)
