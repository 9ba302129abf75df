"""The sheet's two mixtures under its schedule, and exact laws of what is made of them."""

import torch

from entrokit.generative.feynman_kac import anneal, cfg, product
from entrokit.generative.mixtures import GaussianMixture
from entrokit.generative.noising import VariancePreserving

VP = VariancePreserving()
T = 0.3


def mixture(weights, means, stds, dtype=torch.float64):
    return GaussianMixture(*(torch.tensor(v, dtype=dtype) for v in (weights, means, stds)))


A = mixture([0.3, 0.7], [[-2.0], [2.0]], [0.5, 1.0])
B = mixture([0.6, 0.4], [[-1.0], [3.0]], [0.8, 0.6])
COMBINATIONS = {
    "anneal": ((A,), anneal(3.0)),
    "product": ((A, B), product(2)),
    "guidance": ((A, B), cfg(2.5)),
    "annealed product": ((A, B), product(2, 2.0)),
}


def log_density(laws, exponents, x, t, noising=VP):
    """Of the combination at time t, not normalised, ``[K]``."""
    return sum(b * law.noised_by(noising, t).log_prob(x) for law, b in zip(laws, exponents, strict=True))


def exact_log_z(laws, exponents, t, noising=VP):
    grid = torch.linspace(-14, 14, 28001, dtype=torch.float64)[:, None]
    return float(log_density(laws, exponents, grid, t, noising).logsumexp(0)) + float(torch.tensor(28 / 28000).log())


def exact_shares(laws, exponents, t, bins=60, low=-6.0, high=6.0, noising=VP):
    """Of equal bins, ``[bins]``; what they lack to 1 lies beyond."""
    inside = 200
    points = torch.linspace(low, high, bins * inside + 1, dtype=torch.float64)
    middles = (0.5 * (points[1:] + points[:-1]))[:, None]
    density = log_density(laws, exponents, middles, t, noising) - exact_log_z(laws, exponents, t, noising)
    return density.exp().reshape(bins, inside).sum(1) * float(points[1] - points[0])


def total_variation(x, weights, shares, low=-6.0, high=6.0):
    """Of weighted points in one dimension against exact shares of bins."""
    index = ((x.flatten().double() - low) / (high - low) * len(shares)).floor().long()
    inside = (index >= 0) & (index < len(shares))
    found = torch.zeros_like(shares).index_add_(0, index[inside], weights[inside].double())
    return 0.5 * float((found - shares).abs().sum() + (found.sum() - shares.sum()).abs())
